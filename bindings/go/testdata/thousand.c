/* Loaded before the library: views of 1,000 members in chunks, of a library whose records are longer
 * than those of the header, or shorter where SHORT is set. Each view differs from the one before in
 * its last chunk. */
#include <mesh_gossip.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNKS 8
#define EACH 125

typedef struct {
  mesh_gossip_member known;
  uint64_t younger[2];
} record;

struct mesh_gossip_snapshot {
  uint64_t number;
  record last[EACH];
};

static record shared[CHUNKS][EACH];
static char names[CHUNKS][EACH][16];
static mesh_gossip_label labels[2];
static uint64_t views;

static mesh_gossip_bytes text(const char *text) {
  mesh_gossip_bytes bytes = {(const uint8_t *)text, strlen(text)};
  return bytes;
}

__attribute__((constructor)) static void fill(void) {
  labels[0].key = text("arch"), labels[0].value = text("x86-64");
  labels[1].key = text("rack"), labels[1].value = text("r7");
  for (int chunk = 0; chunk < CHUNKS; chunk++) {
    for (int index = 0; index < EACH; index++) {
      record *to = &shared[chunk][index];
      snprintf(names[chunk][index], sizeof names[chunk][index], "node-%d", chunk * EACH + index);
      to->known.id[0] = (uint8_t)(chunk + 1);
      to->known.id[1] = (uint8_t)index;
      to->known.status = MESH_GOSSIP_STATUS_ALIVE;
      to->known.node_id = text(names[chunk][index]);
      to->known.role = text("worker");
      to->known.cluster_id = text("prod");
      to->known.region = text("eu-1");
      to->known.mesh_version = text("1.2.3");
      to->known.endpoint = text("127.0.0.1:17421");
      to->known.labels = labels;
      to->known.labels_len = 2;
      to->younger[0] = to->younger[1] = UINT64_MAX;
    }
  }
}

mesh_gossip_result mesh_gossip_snapshot_try_acquire(const mesh_gossip_agent *agent,
                                                    const mesh_gossip_snapshot **out,
                                                    mesh_gossip_error **err) {
  struct mesh_gossip_snapshot *snapshot = malloc(sizeof *snapshot);
  (void)agent, (void)err;
  if (snapshot == NULL) abort();
  memcpy(snapshot->last, shared[CHUNKS - 1], sizeof snapshot->last);
  snapshot->number = ++views;
  for (int index = 0; index < EACH; index++) snapshot->last[index].known.metadata_version = views;
  *out = snapshot;
  return MESH_GOSSIP_OK;
}

void mesh_gossip_snapshot_release(const mesh_gossip_snapshot *snapshot) {
  if (snapshot == NULL) return;
  memset((void *)snapshot, 0xee, sizeof *snapshot);
  free((void *)snapshot);
}

size_t mesh_gossip_snapshot_len(const mesh_gossip_snapshot *snapshot) {
  (void)snapshot;
  return CHUNKS * EACH;
}

uint64_t mesh_gossip_snapshot_generation(const mesh_gossip_snapshot *snapshot) { return snapshot->number; }

uint64_t mesh_gossip_snapshot_time(const mesh_gossip_snapshot *snapshot) { return snapshot->number; }

const uint8_t *mesh_gossip_snapshot_local_id(const mesh_gossip_snapshot *snapshot) {
  (void)snapshot;
  return shared[0][0].known.id;
}

size_t mesh_gossip_snapshot_chunk_count(const mesh_gossip_snapshot *snapshot) {
  (void)snapshot;
  return CHUNKS;
}

mesh_gossip_result mesh_gossip_snapshot_chunk(const mesh_gossip_snapshot *snapshot, size_t index,
                                              const mesh_gossip_member **records, size_t *len,
                                              size_t *stride) {
  if (index >= CHUNKS) return MESH_GOSSIP_ERR_NOT_FOUND;
  *records = index == CHUNKS - 1 ? &snapshot->last[0].known : &shared[index][0].known;
  *len = EACH;
  *stride = getenv("SHORT") != NULL ? sizeof(mesh_gossip_member) - 8 : sizeof(record);
  return MESH_GOSSIP_OK;
}

uint64_t mesh_gossip_snapshot_chunk_generation(const mesh_gossip_snapshot *snapshot, size_t index) {
  return index == CHUNKS - 1 ? CHUNKS + snapshot->number : index + 1;
}
