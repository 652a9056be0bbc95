/* A library with the functions of mesh_gossip.h and no mesh behind them: it shows the members that a
 * script names and tells the events that it lists, so that a host or a binding can be tested and
 * measured with a C compiler alone. It judges no settings and opens no port.
 *
 * The script stands in the variable MESH_GOSSIP_FAKE, its statements apart by ';' or line ends:
 *   members=N             N members (default 3), in chunks of 128; the first is the agent itself
 *   labels=N              N labels each (default none)
 *   churn                 every view differs from the one before in its last chunk
 *   longer=BYTES          every record is longer than the header says by so much, a multiple of 8
 *   short=RECORD          member, label, event or contact: shorter than the header says
 *   abi=N                 the version of the ABI
 *   fail=FUNCTION:CODE:FIELD:MESSAGE   mesh_gossip_FUNCTION fails
 *   event=KIND:MEMBER:COUNT:DETAIL     waits after the start; numbers, MEMBER counts from 0; what it
 *                                      says of a member stands in the view as well
 * What a host says to others is said back to it by the second member.
 */
#ifndef MESH_GOSSIP_FAKE_H
#define MESH_GOSSIP_FAKE_H

#include <mesh_gossip.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 128
#define MOST_LABELS 16

/* script.c */
bool script_has(const char *name);
size_t script_number(const char *name, size_t otherwise);
/* The n-th statement `name=...`, copied; NULL where there is none. */
char *script_text(const char *name, size_t n);
/* The code that the script has this function fail with, and the error for it. */
mesh_gossip_result script_failure(const char *function, mesh_gossip_error **err);
mesh_gossip_result fail(mesh_gossip_error **err, mesh_gossip_result code, const char *field,
                        const char *message);
/* Memory or the end of the program. */
void *need(size_t count, size_t size);
char *copy_text(const char *text);

/* members.c */
typedef struct person {
  uint32_t status, lifecycle, counter;
  uint64_t version;
  size_t labels_len;
  char *labels[2 * MOST_LABELS];
} person;

typedef struct chunk {
  atomic_size_t holders;
  uint64_t generation;
  size_t len, labels_len, text_len;
  char *records, *labels, *text;
} chunk;

typedef struct crowd {
  size_t count;
  char *local_name;
  person *people;
  size_t chunks_len;
  chunk **chunks;
} crowd;

void crowd_open(crowd *crowd, const char *local_name);
void crowd_close(crowd *crowd);
/* Members from `first` on in a chunk of their own; the caller holds it. */
chunk *crowd_chunk(const crowd *crowd, size_t first, size_t len);
/* The member at `index` has changed. */
void crowd_changed(crowd *crowd, size_t index);
chunk *chunk_hold(chunk *chunk);
void chunk_let_go(chunk *chunk);
void id_of(size_t index, uint8_t *id);
/* The member with an id; `count` where there is none. */
size_t index_of(const crowd *crowd, const uint8_t *id);
bool set_label(person *person, const char *key, const char *value);

/* views.c */
mesh_gossip_snapshot *snapshot_of(const crowd *crowd, uint64_t generation);

/* events.c */
typedef struct letter {
  mesh_gossip_event event;
  chunk *about;
  char *text;
  uint8_t *payload;
  struct letter *next;
} letter;

typedef struct queue {
  letter *first, **last;
  int descriptor;
} queue;

bool queue_open(queue *queue);
void queue_close(queue *queue);
/* True where it is the first that waits. */
bool queue_put(queue *queue, letter *letter);
mesh_gossip_events *queue_take(queue *queue, size_t most);
letter *letter_of(uint32_t kind);
uint64_t unix_ms(void);

#endif
