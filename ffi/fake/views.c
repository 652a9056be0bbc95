/* Snapshots and contacts. */
#include "fake.h"

struct mesh_gossip_snapshot {
  atomic_size_t holders;
  uint64_t generation, time;
  size_t len, chunks_len;
  uint8_t local[16];
  chunk **chunks;
};

mesh_gossip_snapshot *snapshot_of(const crowd *crowd, uint64_t generation) {
  mesh_gossip_snapshot *made = need(1, sizeof *made);
  atomic_init(&made->holders, 1);
  made->generation = generation;
  made->time = unix_ms();
  made->len = crowd->count;
  made->chunks_len = crowd->chunks_len;
  made->chunks = need(made->chunks_len, sizeof *made->chunks);
  id_of(0, made->local);
  for (size_t at = 0; at < made->chunks_len; at++) made->chunks[at] = chunk_hold(crowd->chunks[at]);
  return made;
}

/* Handed out as const, as the real one is; only its holders are counted. */
void mesh_gossip_snapshot_release(const mesh_gossip_snapshot *snapshot) {
  mesh_gossip_snapshot *own = (mesh_gossip_snapshot *)snapshot;
  if (own == NULL || atomic_fetch_sub(&own->holders, 1) > 1) return;
  for (size_t at = 0; at < own->chunks_len; at++) chunk_let_go(own->chunks[at]);
  free(own->chunks);
  /* Whoever reads on finds nonsense rather than what was there. */
  memset(own, 0xa5, sizeof *own);
  free(own);
}

size_t mesh_gossip_snapshot_len(const mesh_gossip_snapshot *snapshot) {
  return snapshot == NULL ? 0 : snapshot->len;
}

uint64_t mesh_gossip_snapshot_generation(const mesh_gossip_snapshot *snapshot) {
  return snapshot == NULL ? 0 : snapshot->generation;
}

uint64_t mesh_gossip_snapshot_time(const mesh_gossip_snapshot *snapshot) {
  return snapshot == NULL ? 0 : snapshot->time;
}

const uint8_t *mesh_gossip_snapshot_local_id(const mesh_gossip_snapshot *snapshot) {
  return snapshot == NULL ? NULL : snapshot->local;
}

size_t mesh_gossip_snapshot_chunk_count(const mesh_gossip_snapshot *snapshot) {
  return snapshot == NULL ? 0 : snapshot->chunks_len;
}

static const chunk *chunk_at(const mesh_gossip_snapshot *snapshot, size_t index) {
  return snapshot == NULL || index >= snapshot->chunks_len ? NULL : snapshot->chunks[index];
}

static mesh_gossip_result missing(const mesh_gossip_snapshot *snapshot) {
  return snapshot == NULL ? MESH_GOSSIP_ERR_ARGUMENT : MESH_GOSSIP_ERR_NOT_FOUND;
}

mesh_gossip_result mesh_gossip_snapshot_chunk(const mesh_gossip_snapshot *snapshot, size_t index,
                                              const mesh_gossip_member **records, size_t *len,
                                              size_t *stride) {
  const chunk *chunk = chunk_at(snapshot, index);
  if (records == NULL || len == NULL || stride == NULL) return MESH_GOSSIP_ERR_ARGUMENT;
  if (chunk == NULL) return missing(snapshot);
  *records = (const void *)chunk->records;
  *len = chunk->len;
  *stride = mesh_gossip_members_stride();
  return MESH_GOSSIP_OK;
}

mesh_gossip_result mesh_gossip_snapshot_chunk_arena(const mesh_gossip_snapshot *snapshot,
                                                    size_t index, const mesh_gossip_label **labels,
                                                    size_t *labels_len, mesh_gossip_bytes *text) {
  const chunk *chunk = chunk_at(snapshot, index);
  if (labels == NULL || labels_len == NULL || text == NULL) return MESH_GOSSIP_ERR_ARGUMENT;
  if (chunk == NULL) return missing(snapshot);
  *labels = (const void *)chunk->labels;
  *labels_len = chunk->labels_len;
  text->data = (const uint8_t *)chunk->text;
  text->len = chunk->text_len;
  return MESH_GOSSIP_OK;
}

uint64_t mesh_gossip_snapshot_chunk_generation(const mesh_gossip_snapshot *snapshot, size_t index) {
  const chunk *chunk = chunk_at(snapshot, index);
  return chunk == NULL ? 0 : chunk->generation;
}

static const mesh_gossip_member *member_at(const chunk *chunk, size_t at) {
  return (const void *)(chunk->records + at * mesh_gossip_members_stride());
}

const mesh_gossip_member *mesh_gossip_snapshot_find(const mesh_gossip_snapshot *snapshot,
                                                    const uint8_t *id) {
  for (size_t index = 0; id != NULL && chunk_at(snapshot, index) != NULL; index++) {
    const chunk *chunk = chunk_at(snapshot, index);
    for (size_t at = 0; at < chunk->len; at++) {
      if (memcmp(member_at(chunk, at)->id, id, 16) == 0) return member_at(chunk, at);
    }
  }
  return NULL;
}

const mesh_gossip_member *mesh_gossip_snapshot_local(const mesh_gossip_snapshot *snapshot) {
  return snapshot == NULL ? NULL : mesh_gossip_snapshot_find(snapshot, snapshot->local);
}

size_t mesh_gossip_snapshot_count(const mesh_gossip_snapshot *snapshot, uint32_t status) {
  size_t count = 0;
  for (size_t index = 0; chunk_at(snapshot, index) != NULL; index++) {
    const chunk *chunk = chunk_at(snapshot, index);
    for (size_t at = 0; at < chunk->len; at++) count += member_at(chunk, at)->status == status;
  }
  return count;
}
