/* Events that wait, and batches of them. */
#include "fake.h"

#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct mesh_gossip_events {
  size_t len;
  char *records;
  letter *kept;
};

uint64_t unix_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

letter *letter_of(uint32_t kind) {
  letter *made = need(1, sizeof *made);
  made->event.kind = kind;
  made->event.at_unix_ms = unix_ms();
  /* Never NULL, as the header says of bytes. */
  made->event.text.data = made->event.payload.data = (const uint8_t *)"";
  return made;
}

static void letters_free(letter *letter) {
  while (letter != NULL) {
    struct letter *next = letter->next;
    chunk_let_go(letter->about);
    free(letter->text);
    free(letter->payload);
    free(letter);
    letter = next;
  }
}

bool queue_open(queue *queue) {
  queue->first = NULL;
  queue->last = &queue->first;
  queue->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return queue->descriptor >= 0;
}

void queue_close(queue *queue) {
  letters_free(queue->first);
  close(queue->descriptor);
}

bool queue_put(queue *queue, letter *letter) {
  bool first = queue->first == NULL;
  *queue->last = letter;
  queue->last = &letter->next;
  if (first) eventfd_write(queue->descriptor, 1);
  return first;
}

mesh_gossip_events *queue_take(queue *queue, size_t most) {
  mesh_gossip_events *batch = need(1, sizeof *batch);
  size_t apart = mesh_gossip_events_stride();
  letter **end = &queue->first;
  while (batch->len < most && *end != NULL) end = &(*end)->next, batch->len++;
  batch->records = need(batch->len + 1, apart + sizeof(mesh_gossip_event));
  if (batch->len == 0) return batch;
  batch->kept = queue->first;
  queue->first = *end;
  *end = NULL;
  if (queue->first == NULL) {
    eventfd_t raised;
    queue->last = &queue->first;
    eventfd_read(queue->descriptor, &raised);
  }
  memset(batch->records, 0xa5, batch->len * apart);
  letter *from = batch->kept;
  for (size_t at = 0; at < batch->len; at++, from = from->next) {
    memcpy(batch->records + at * apart, &from->event, sizeof from->event);
  }
  return batch;
}

size_t mesh_gossip_events_len(const mesh_gossip_events *events) {
  return events == NULL ? 0 : events->len;
}

const mesh_gossip_event *mesh_gossip_events_at(const mesh_gossip_events *events, size_t index) {
  if (events == NULL || index >= events->len) return NULL;
  return (const void *)(events->records + index * mesh_gossip_events_stride());
}

void mesh_gossip_events_free(mesh_gossip_events *events) {
  if (events == NULL) return;
  letters_free(events->kept);
  free(events->records);
  free(events);
}
