/* The members of the script, as chunks of records. */
#include "fake.h"

#include <stdio.h>

/* The longest text of one field or label. */
#define LONGEST 64

static atomic_uint_fast64_t generations;

void id_of(size_t index, uint8_t *id) {
  memset(id, 0, 16);
  id[0] = 0xfa;
  for (size_t at = 0; at < 4; at++) id[15 - at] = (uint8_t)(index >> (8 * at));
}

size_t index_of(const crowd *crowd, const uint8_t *id) {
  uint8_t its[16];
  size_t index = 0;
  for (size_t at = 12; at < 16; at++) index = index << 8 | id[at];
  id_of(index, its);
  return index < crowd->count && memcmp(its, id, 16) == 0 ? index : crowd->count;
}

bool set_label(person *person, const char *key, const char *value) {
  size_t at = 0;
  while (at < person->labels_len && strcmp(person->labels[2 * at], key) != 0) at++;
  if (at < person->labels_len) {
    free(person->labels[2 * at + 1]);
    if (value == NULL) {
      size_t behind = 2 * (person->labels_len - at - 1);
      free(person->labels[2 * at]);
      memmove(&person->labels[2 * at], &person->labels[2 * at + 2], behind * sizeof(char *));
      person->labels_len--;
    } else {
      person->labels[2 * at + 1] = copy_text(value);
    }
    return true;
  }
  if (value == NULL) return true;
  if (at == MOST_LABELS || strlen(key) >= LONGEST || strlen(value) >= LONGEST) return false;
  /* By name, as in the real library. */
  for (; at > 0 && strcmp(person->labels[2 * at - 2], key) > 0; at--) {
    person->labels[2 * at] = person->labels[2 * at - 2];
    person->labels[2 * at + 1] = person->labels[2 * at - 1];
  }
  person->labels[2 * at] = copy_text(key);
  person->labels[2 * at + 1] = copy_text(value);
  person->labels_len++;
  return true;
}

static mesh_gossip_bytes text(chunk *chunk, const char *text) {
  mesh_gossip_bytes bytes = {(const uint8_t *)chunk->text + chunk->text_len, strlen(text)};
  memcpy(chunk->text + chunk->text_len, text, bytes.len);
  chunk->text_len += bytes.len;
  return bytes;
}

static void fill(const crowd *crowd, size_t index, chunk *chunk, mesh_gossip_member *to) {
  const person *person = &crowd->people[index];
  size_t apart = mesh_gossip_labels_stride();
  char made[LONGEST];
  id_of(index, to->id);
  to->generation = 1700000000000 + index;
  to->counter = person->counter;
  to->status = person->status;
  to->lifecycle = person->lifecycle;
  to->flags = index == 0 ? MESH_GOSSIP_MEMBER_LOCAL : MESH_GOSSIP_MEMBER_HTTP3;
  to->metadata_version = person->version;
  snprintf(made, sizeof made, "node-%04u", (unsigned)index);
  to->node_id = text(chunk, index == 0 && crowd->local_name != NULL ? crowd->local_name : made);
  to->role = text(chunk, "worker");
  to->cluster_id = text(chunk, "prod");
  to->region = text(chunk, "eu-1");
  to->mesh_version = text(chunk, "1.2.3");
  snprintf(made, sizeof made, "10.0.%u.%u:17421", (unsigned)(index >> 8) & 255, (unsigned)index & 255);
  to->endpoint = text(chunk, made);
  to->labels_len = person->labels_len;
  to->labels = NULL;
  for (size_t at = 0; at < person->labels_len; at++, chunk->labels_len++) {
    mesh_gossip_label *label = (void *)(chunk->labels + chunk->labels_len * apart);
    if (at == 0) to->labels = label;
    label->key = text(chunk, person->labels[2 * at]);
    label->value = text(chunk, person->labels[2 * at + 1]);
  }
}

chunk *crowd_chunk(const crowd *crowd, size_t first, size_t len) {
  size_t apart = mesh_gossip_members_stride(), labels = 0;
  chunk *made = need(1, sizeof *made);
  for (size_t at = 0; at < len; at++) labels += crowd->people[first + at].labels_len;
  atomic_init(&made->holders, 1);
  made->generation = atomic_fetch_add(&generations, 1) + 1;
  made->len = len;
  /* What a record has beyond its known fields is not zero: nobody may read it as one of them. */
  made->records = need(len + 1, apart + sizeof(mesh_gossip_member));
  memset(made->records, 0xa5, len * apart);
  made->labels = need(labels + 1, mesh_gossip_labels_stride() + sizeof(mesh_gossip_label));
  made->text = need(6 * len + 2 * labels, LONGEST);
  for (size_t at = 0; at < len; at++) {
    fill(crowd, first + at, made, (void *)(made->records + at * apart));
  }
  return made;
}

chunk *chunk_hold(chunk *chunk) {
  atomic_fetch_add(&chunk->holders, 1);
  return chunk;
}

void chunk_let_go(chunk *chunk) {
  if (chunk == NULL || atomic_fetch_sub(&chunk->holders, 1) > 1) return;
  free(chunk->records);
  free(chunk->labels);
  free(chunk->text);
  free(chunk);
}

void crowd_open(crowd *crowd, const char *local_name) {
  size_t labels = script_number("labels", 0);
  crowd->count = script_number("members", 3);
  crowd->local_name = local_name == NULL ? NULL : copy_text(local_name);
  crowd->people = need(crowd->count, sizeof *crowd->people);
  for (size_t index = 0; index < crowd->count; index++) {
    person *person = &crowd->people[index];
    person->status = MESH_GOSSIP_STATUS_ALIVE;
    for (size_t label = 0; label < labels && label < MOST_LABELS; label++) {
      char key[LONGEST], value[LONGEST];
      snprintf(key, sizeof key, "label-%02u", (unsigned)label);
      snprintf(value, sizeof value, "value-%u", (unsigned)(index % 10));
      set_label(person, key, value);
    }
  }
  crowd->chunks_len = (crowd->count + CHUNK - 1) / CHUNK;
  crowd->chunks = need(crowd->chunks_len, sizeof *crowd->chunks);
  for (size_t index = 0; index < crowd->count; index += CHUNK) crowd_changed(crowd, index);
}

void crowd_changed(crowd *crowd, size_t index) {
  size_t at = index / CHUNK, first = at * CHUNK, left = crowd->count - first;
  if (index >= crowd->count) return;
  chunk_let_go(crowd->chunks[at]);
  crowd->chunks[at] = crowd_chunk(crowd, first, left < CHUNK ? left : CHUNK);
}

void crowd_close(crowd *crowd) {
  for (size_t at = 0; at < crowd->chunks_len; at++) chunk_let_go(crowd->chunks[at]);
  for (size_t index = 0; index < crowd->count; index++) {
    person *person = &crowd->people[index];
    for (size_t at = 0; at < 2 * person->labels_len; at++) free(person->labels[at]);
  }
  free(crowd->chunks);
  free(crowd->people);
  free(crowd->local_name);
}
