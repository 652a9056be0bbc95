/* A chunk of a snapshot as Go reads it. */
#ifndef MESH_GOSSIP_GO_CHUNK_H
#define MESH_GOSSIP_GO_CHUNK_H

#include <mesh_gossip.h>

typedef struct {
  const mesh_gossip_member *records;
  size_t len;
  size_t stride;
  uint64_t generation;
  const mesh_gossip_label *labels;
  size_t labels_len;
  mesh_gossip_bytes text;
} chunk;

/* All chunks by one call: from Go, each call costs more than what it does here. */
static inline mesh_gossip_result chunks(const mesh_gossip_snapshot *snapshot, chunk *out, size_t count) {
  for (size_t index = 0; index < count; index++) {
    chunk *to = out + index;
    mesh_gossip_result code = mesh_gossip_snapshot_chunk(snapshot, index, &to->records, &to->len, &to->stride);
    if (code != MESH_GOSSIP_OK) return code;
    code = mesh_gossip_snapshot_chunk_arena(snapshot, index, &to->labels, &to->labels_len, &to->text);
    if (code != MESH_GOSSIP_OK) return code;
    to->generation = mesh_gossip_snapshot_chunk_generation(snapshot, index);
  }
  return MESH_GOSSIP_OK;
}

#endif
