/* Snapshots and events as plain arrays, in the order that lib/ takes them apart again: one array
 * a member costs less than one object with named properties. */
#include "addon.h"

#include <stddef.h>
#include <string.h>

/* The size of the fields that are read here: a library may know more of them, never fewer. */
#define MEMBER_SIZE (offsetof(mesh_gossip_member, labels_len) + sizeof(size_t))
#define EVENT_SIZE (offsetof(mesh_gossip_event, member) + sizeof(const mesh_gossip_member *))
#define LABEL_SIZE (offsetof(mesh_gossip_label, value) + sizeof(mesh_gossip_bytes))
#define CONTACT_SIZE (offsetof(mesh_gossip_contact, rtt_us) + sizeof(uint64_t))

static napi_status set(napi_env env, napi_value array, uint32_t index, napi_value value) {
  return value == NULL ? napi_generic_failure : napi_set_element(env, array, index, value);
}

static napi_status set_u32(napi_env env, napi_value array, uint32_t index, uint32_t number) {
  napi_value value;
  napi_status status = napi_create_uint32(env, number, &value);
  return status != napi_ok ? status : napi_set_element(env, array, index, value);
}

static napi_status set_number(napi_env env, napi_value array, uint32_t index, uint64_t number) {
  napi_value value;
  napi_status status = napi_create_double(env, (double)number, &value);
  return status != napi_ok ? status : napi_set_element(env, array, index, value);
}

static napi_status set_bigint(napi_env env, napi_value array, uint32_t index, uint64_t number) {
  napi_value value;
  napi_status status = napi_create_bigint_uint64(env, number, &value);
  return status != napi_ok ? status : napi_set_element(env, array, index, value);
}

/* [key, value, key, value...]. */
static napi_value labels_of(napi_env env, const mesh_gossip_member *member) {
  const uint8_t *first = (const uint8_t *)member->labels;
  size_t stride = mesh_gossip_labels_stride();
  napi_value labels;
  TRY(napi_create_array_with_length(env, 2 * member->labels_len, &labels));
  for (uint32_t index = 0; index < member->labels_len; index++) {
    const mesh_gossip_label *label = (const void *)(first + index * stride);
    TRY(set(env, labels, 2 * index, value_text(env, label->key)));
    TRY(set(env, labels, 2 * index + 1, value_text(env, label->value)));
  }
  return labels;
}

static napi_value member_of(napi_env env, const void *record) {
  const mesh_gossip_member *member = record;
  napi_value fields;
  TRY(napi_create_array_with_length(env, 14, &fields));
  TRY(set(env, fields, 0, value_id(env, member->id)));
  TRY(set(env, fields, 1, value_text(env, member->node_id)));
  TRY(set_u32(env, fields, 2, member->status));
  TRY(set_u32(env, fields, 3, member->lifecycle));
  TRY(set_u32(env, fields, 4, member->flags));
  TRY(set_bigint(env, fields, 5, member->generation));
  TRY(set_u32(env, fields, 6, member->counter));
  TRY(set_bigint(env, fields, 7, member->metadata_version));
  TRY(set(env, fields, 8, value_text(env, member->role)));
  TRY(set(env, fields, 9, value_text(env, member->cluster_id)));
  TRY(set(env, fields, 10, value_text(env, member->region)));
  TRY(set(env, fields, 11, value_text(env, member->mesh_version)));
  TRY(set(env, fields, 12, value_text(env, member->endpoint)));
  TRY(set(env, fields, 13, labels_of(env, member)));
  return fields;
}

static napi_value payload_of(napi_env env, mesh_gossip_bytes bytes) {
  napi_value buffer, array;
  void *data;
  TRY(napi_create_arraybuffer(env, bytes.len, &data, &buffer));
  if (bytes.len > 0) memcpy(data, bytes.data, bytes.len);
  TRY(napi_create_typedarray(env, napi_uint8_array, bytes.len, buffer, 0, &array));
  return array;
}

static napi_value event_of(napi_env env, const void *record) {
  const mesh_gossip_event *event = record;
  napi_value fields;
  TRY(napi_create_array_with_length(env, 10, &fields));
  TRY(set_u32(env, fields, 0, event->kind));
  TRY(set_u32(env, fields, 1, event->detail));
  TRY(set_number(env, fields, 2, event->at_unix_ms));
  TRY(set_bigint(env, fields, 3, event->count));
  TRY(set(env, fields, 4, value_id(env, event->id)));
  TRY(set(env, fields, 5, value_id(env, event->previous_id)));
  TRY(set_u32(env, fields, 6, event->topic));
  TRY(set(env, fields, 7, value_text(env, event->text)));
  TRY(set(env, fields, 8, payload_of(env, event->payload)));
  if (event->member != NULL) TRY(set(env, fields, 9, member_of(env, event->member)));
  return fields;
}

/* A scope for each record, so that the values of a long chunk do not pile up in one. */
static napi_status add(napi_env env, napi_value array, uint32_t index, const void *record,
                       napi_value (*convert)(napi_env env, const void *record)) {
  napi_handle_scope scope;
  napi_status status = napi_open_handle_scope(env, &scope);
  if (status != napi_ok) return status;
  status = set(env, array, index, convert(env, record));
  napi_close_handle_scope(env, scope);
  return status;
}

/* [id, last contact, round-trip time in microseconds] each. */
static napi_value contact_of(napi_env env, const void *record) {
  const mesh_gossip_contact *contact = record;
  napi_value fields;
  TRY(napi_create_array_with_length(env, 3, &fields));
  TRY(set(env, fields, 0, value_id(env, contact->id)));
  TRY(set_number(env, fields, 1, contact->last_unix_ms));
  TRY(set_number(env, fields, 2, contact->rtt_us));
  return fields;
}

napi_value read_contacts(napi_env env, const mesh_gossip_contacts *contacts) {
  size_t len = mesh_gossip_contacts_len(contacts), stride = mesh_gossip_contacts_stride();
  const uint8_t *first = (const uint8_t *)mesh_gossip_contacts_at(contacts, 0);
  napi_value list;
  TRY(napi_create_array_with_length(env, len, &list));
  for (uint32_t index = 0; index < len; index++) {
    TRY(add(env, list, index, first + index * stride, contact_of));
  }
  return list;
}

bool records_fit(void) {
  return mesh_gossip_members_stride() >= MEMBER_SIZE &&
         mesh_gossip_labels_stride() >= LABEL_SIZE && mesh_gossip_events_stride() >= EVENT_SIZE &&
         mesh_gossip_contacts_stride() >= CONTACT_SIZE;
}

static napi_value batch_of(napi_env env, const mesh_gossip_events *events) {
  size_t len = mesh_gossip_events_len(events), stride = mesh_gossip_events_stride();
  const uint8_t *first = (const uint8_t *)mesh_gossip_events_at(events, 0);
  napi_value batch;
  TRY(napi_create_array_with_length(env, len, &batch));
  for (uint32_t index = 0; index < len; index++) {
    TRY(add(env, batch, index, first + index * stride, event_of));
  }
  return batch;
}

/* events(agent, max): an outcome whose value is an array of events, empty where none waits. */
napi_value read_events(napi_env env, napi_callback_info info) {
  napi_value arguments[2], batch = NULL;
  size_t count = 2;
  uint32_t max;
  agent *agent;
  mesh_gossip_events *events = NULL;
  mesh_gossip_error *err = NULL;
  mesh_gossip_result code;
  TRY(napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
  agent = agent_of(env, arguments[0]);
  if (agent == NULL) return NULL;
  TRY(napi_get_value_uint32(env, arguments[1], &max));
  if (agent->closing) return value_outcome(env, MESH_GOSSIP_ERR_STOPPED, NULL, NULL);
  code = mesh_gossip_agent_take_events(agent->raw, max, &events, &err);
  if (code == MESH_GOSSIP_OK) {
    batch = batch_of(env, events);
    mesh_gossip_events_free(events);
    if (batch == NULL) return NULL;
  }
  return value_outcome(env, code, err, batch);
}

static napi_value chunk_of(napi_env env, const mesh_gossip_snapshot *snapshot, size_t index) {
  const mesh_gossip_member *records = NULL;
  size_t len = 0, stride = 0;
  napi_value members;
  if (mesh_gossip_snapshot_chunk(snapshot, index, &records, &len, &stride) != MESH_GOSSIP_OK) {
    napi_throw_error(env, "MESH_GOSSIP_ERR_NOT_FOUND", "a chunk of the view cannot be read");
    return NULL;
  }
  TRY(napi_create_array_with_length(env, len, &members));
  for (uint32_t at = 0; at < len; at++) {
    TRY(add(env, members, at, (const uint8_t *)records + at * stride, member_of));
  }
  return members;
}

/* [generation, members], members being null where the cache knows the generation. */
static napi_value chunk_unless_known(napi_env env, const mesh_gossip_snapshot *snapshot,
                                     size_t index, napi_value cache) {
  napi_value pair, generation, members;
  bool known;
  TRY(napi_create_array_with_length(env, 2, &pair));
  TRY(napi_create_double(env, (double)mesh_gossip_snapshot_chunk_generation(snapshot, index),
                         &generation));
  TRY(napi_has_property(env, cache, generation, &known));
  TRY(napi_set_element(env, pair, 0, generation));
  if (known) {
    TRY(napi_get_null(env, &members));
  } else {
    members = chunk_of(env, snapshot, index);
  }
  TRY(set(env, pair, 1, members));
  return pair;
}

static napi_value snapshot_of(napi_env env, const mesh_gossip_snapshot *snapshot,
                              double known_generation, napi_value cache) {
  uint64_t generation = mesh_gossip_snapshot_generation(snapshot);
  size_t chunk_count = mesh_gossip_snapshot_chunk_count(snapshot);
  napi_value fields, chunks;
  if ((double)generation == known_generation) {
    TRY(napi_get_null(env, &fields));
    return fields;
  }
  TRY(napi_create_array_with_length(env, 5, &fields));
  TRY(napi_create_array_with_length(env, chunk_count, &chunks));
  TRY(set_number(env, fields, 0, generation));
  TRY(set_number(env, fields, 1, mesh_gossip_snapshot_time(snapshot)));
  TRY(set(env, fields, 2, value_id(env, mesh_gossip_snapshot_local_id(snapshot))));
  TRY(set_number(env, fields, 3, mesh_gossip_snapshot_len(snapshot)));
  TRY(napi_set_element(env, fields, 4, chunks));
  for (size_t index = 0; index < chunk_count; index++) {
    TRY(set(env, chunks, (uint32_t)index, chunk_unless_known(env, snapshot, index, cache)));
  }
  return fields;
}

/* snapshot(agent, generation, cache): [generation, time, local id, count, chunks]; null where the
 * newest view has that generation. The cache has the generation of each known chunk as a key. */
napi_value read_snapshot(napi_env env, napi_callback_info info) {
  napi_value arguments[3], value;
  size_t count = 3;
  double known_generation;
  agent *agent;
  const mesh_gossip_snapshot *snapshot = NULL;
  mesh_gossip_error *err = NULL;
  mesh_gossip_result code;
  TRY(napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
  agent = agent_of(env, arguments[0]);
  if (agent == NULL) return NULL;
  TRY(napi_get_value_double(env, arguments[1], &known_generation));
  if (agent->closing) return value_outcome(env, MESH_GOSSIP_ERR_STOPPED, NULL, NULL);
  code = mesh_gossip_snapshot_try_acquire(agent->raw, &snapshot, &err);
  if (code != MESH_GOSSIP_OK) return value_outcome(env, code, err, NULL);
  value = snapshot_of(env, snapshot, known_generation, arguments[2]);
  mesh_gossip_snapshot_release(snapshot);
  return value == NULL ? NULL : value_outcome(env, MESH_GOSSIP_OK, NULL, value);
}
