/* The calls that may block: starting an agent, and what is asked of one. */
#include "addon.h"

#include <stdlib.h>
#include <string.h>

static mesh_gossip_result run_start(work *work, mesh_gossip_error **err) {
  mesh_gossip_options *options = NULL;
  mesh_gossip_start_options start;
  mesh_gossip_result code = work->from_file
                                ? mesh_gossip_options_from_file(work->texts[0], &options, err)
                                : mesh_gossip_options_from_json(work->texts[0], &options, err);
  for (size_t index = 1; code == MESH_GOSSIP_OK && index + 1 < work->texts_len; index += 2) {
    code = mesh_gossip_options_set(options, work->texts[index], work->texts[index + 1], err);
  }
  if (code == MESH_GOSSIP_OK) code = mesh_gossip_start_options_init(&start, sizeof start);
  if (code == MESH_GOSSIP_OK && !work->only_check) {
    start.events_capacity = (size_t)work->number;
    code = mesh_gossip_agent_start_with(options, &start, &work->started, err);
  }
  mesh_gossip_options_free(options);
  return code;
}

static mesh_gossip_result run_stop(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_stop(work->agent->raw, err);
}

static mesh_gossip_result run_leave(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_leave(work->agent->raw, work->number, err);
}

static mesh_gossip_result run_set_label(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_set_label(work->agent->raw, work->texts[0], work->texts[1], err);
}

static mesh_gossip_result run_set_lifecycle(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_set_lifecycle(work->agent->raw, (uint32_t)work->number, err);
}

static mesh_gossip_result run_join(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_join(work->agent->raw, (const char *const *)work->texts,
                                work->texts_len, err);
}

static mesh_gossip_result run_force_leave(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_force_leave(work->agent->raw, work->bytes, work->bytes_len, err);
}

static mesh_gossip_result run_reload(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_reload(work->agent->raw, err);
}

static mesh_gossip_result run_add_revocation_lists(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_add_revocation_lists(work->agent->raw, work->bytes, work->bytes_len,
                                                err);
}

static mesh_gossip_result run_broadcast(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_broadcast(work->agent->raw, (uint16_t)work->number, work->bytes,
                                     work->bytes_len, err);
}

static mesh_gossip_result run_send_to(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_send_to(work->agent->raw, work->id, (uint16_t)work->number,
                                   work->bytes, work->bytes_len, err);
}

static mesh_gossip_result run_peers(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_peers_json(work->agent->raw, work->number, &work->text, err);
}

static mesh_gossip_result run_leaders(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_leaders_json(work->agent->raw, work->texts[0], work->number,
                                        &work->text, err);
}

static mesh_gossip_result run_metrics(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_metrics_text(work->agent->raw, work->number, &work->text, err);
}

static mesh_gossip_result run_health(work *work, mesh_gossip_error **err) {
  work->gives_health = true;
  return mesh_gossip_agent_health(work->agent->raw, work->number, &work->health, err);
}

static mesh_gossip_result run_contacts(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_contacts(work->agent->raw, work->number, &work->contacts, err);
}

static mesh_gossip_result run_report_leases(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_report_leases(work->agent->raw, work->texts[0], work->texts[1], err);
}

static mesh_gossip_result run_lease_health(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_lease_health_json(work->agent->raw, work->number, &work->text, err);
}

static mesh_gossip_result run_set_metadata(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_set_metadata(work->agent->raw, work->texts[0], err);
}

static mesh_gossip_result run_broadcast_latest(work *work, mesh_gossip_error **err) {
  return mesh_gossip_agent_broadcast_latest(work->agent->raw, (uint16_t)work->number,
                                            strtoull(work->texts[0], NULL, 10), work->bytes,
                                            work->bytes_len, err);
}

/* Certificate, key and trust stand one behind the other in the bytes; the texts are how long the
 * first two are, and the password. */
static mesh_gossip_result run_reload_certificates(work *work, mesh_gossip_error **err) {
  size_t first = (size_t)strtoull(work->texts[0], NULL, 10);
  size_t second = (size_t)strtoull(work->texts[1], NULL, 10);
  const uint8_t *key = work->bytes + first, *ca = key + second;
  return mesh_gossip_agent_reload_certificates(work->agent->raw, work->bytes, first, key, second, ca,
                                               work->bytes_len - first - second, work->texts[2],
                                               err);
}

typedef struct kind {
  const char *name;
  mesh_gossip_result (*run)(work *work, mesh_gossip_error **err);
  size_t texts; /* at least */
  bool bytes;
  bool id;
} kind;

static const kind kinds[] = {
    {"stop", run_stop, 0, false, false},
    {"leave", run_leave, 0, false, false},
    {"setLabel", run_set_label, 2, false, false},
    {"setLifecycle", run_set_lifecycle, 0, false, false},
    {"join", run_join, 0, false, false},
    {"forceLeave", run_force_leave, 0, true, false},
    {"reload", run_reload, 0, false, false},
    {"addRevocationLists", run_add_revocation_lists, 0, true, false},
    {"broadcast", run_broadcast, 0, true, false},
    {"sendTo", run_send_to, 0, true, true},
    {"peers", run_peers, 0, false, false},
    {"leaders", run_leaders, 1, false, false},
    {"metrics", run_metrics, 0, false, false},
    {"health", run_health, 0, false, false},
    {"contacts", run_contacts, 0, false, false},
    {"setMetadata", run_set_metadata, 1, false, false},
    {"reportLeases", run_report_leases, 2, false, false},
    {"leaseHealth", run_lease_health, 0, false, false},
    {"broadcastLatest", run_broadcast_latest, 1, true, false},
    {"reloadCertificates", run_reload_certificates, 3, true, false},
};

/* Strings and nulls of an array; false with an exception pending. */
static bool copy_texts(napi_env env, napi_value array, work *work) {
  uint32_t len;
  if (napi_get_array_length(env, array, &len) != napi_ok) {
    napi_throw_type_error(env, NULL, "an array of strings is expected");
    return false;
  }
  work->texts = calloc((size_t)len + 1, sizeof *work->texts);
  if (work->texts == NULL) {
    throw_memory(env);
    return false;
  }
  for (; work->texts_len < len; work->texts_len++) {
    napi_value item;
    napi_valuetype type;
    if (napi_get_element(env, array, (uint32_t)work->texts_len, &item) != napi_ok ||
        napi_typeof(env, item, &type) != napi_ok) {
      return false;
    }
    if (type == napi_null) continue;
    work->texts[work->texts_len] = copy_string(env, item);
    if (work->texts[work->texts_len] == NULL) return false;
  }
  return true;
}

static bool copy_number(napi_env env, napi_value value, work *work) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= 0) ||
      number > 9007199254740991.0) {
    napi_throw_range_error(env, NULL, "a whole number, zero or more, is expected");
    return false;
  }
  work->number = (uint64_t)number;
  return true;
}

static bool copy_id(napi_env env, napi_value value, work *work) {
  uint8_t *bytes = NULL;
  size_t len;
  bool fits;
  if (!copy_bytes(env, value, &bytes, &len)) return false;
  fits = len == sizeof work->id;
  if (fits) {
    memcpy(work->id, bytes, len);
  } else {
    napi_throw_range_error(env, NULL, "an id has 16 bytes");
  }
  free(bytes);
  return fits;
}

/* start(fromFile, [text, key, value, key, value...], eventsCapacity, onlyCheck): a promise of an
 * agent, or of nothing where settings are only checked. */
napi_value call_start(napi_env env, napi_callback_info info) {
  napi_value arguments[4], promise = NULL;
  size_t count = 4;
  work *work;
  TRY(napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
  work = work_new(env);
  if (work == NULL) return NULL;
  work->run = run_start;
  if (napi_get_value_bool(env, arguments[0], &work->from_file) != napi_ok ||
      napi_get_value_bool(env, arguments[3], &work->only_check) != napi_ok ||
      !copy_texts(env, arguments[1], work) || !copy_number(env, arguments[2], work)) {
    work_free(work);
    return NULL;
  }
  work_queue(env, work, "mesh-gossip.start", &promise);
  return promise;
}

static const kind *kind_of(napi_env env, napi_value value) {
  uint32_t index;
  if (napi_get_value_uint32(env, value, &index) != napi_ok ||
      index >= sizeof kinds / sizeof *kinds) {
    napi_throw_range_error(env, NULL, "there is no such call");
    return NULL;
  }
  return &kinds[index];
}

/* False with an exception pending. */
static bool copy_arguments(napi_env env, const kind *kind, const napi_value *arguments,
                           work *work) {
  if (!copy_texts(env, arguments[2], work) || !copy_number(env, arguments[3], work) ||
      (kind->bytes && !copy_bytes(env, arguments[4], &work->bytes, &work->bytes_len)) ||
      (kind->id && !copy_id(env, arguments[5], work))) {
    return false;
  }
  if (work->texts_len < kind->texts) {
    napi_throw_type_error(env, NULL, "a text is missing");
    return false;
  }
  return napi_create_reference(env, arguments[0], 1, &work->held) == napi_ok;
}

/* call(agent, kind, texts, number, bytes, id): an outcome, or a promise of one. */
napi_value call_agent(napi_env env, napi_callback_info info) {
  napi_value arguments[6], promise = NULL;
  size_t count = 6;
  const kind *kind;
  work *work;
  agent *agent;
  TRY(napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
  agent = agent_of(env, arguments[0]);
  kind = agent == NULL ? NULL : kind_of(env, arguments[1]);
  if (kind == NULL) return NULL;
  if (agent->closing) return value_outcome(env, MESH_GOSSIP_ERR_STOPPED, NULL, NULL);
  work = work_new(env);
  if (work == NULL) return NULL;
  work->run = kind->run;
  work->agent = agent;
  if (!copy_arguments(env, kind, arguments, work)) {
    work_free(work);
    return NULL;
  }
  work_queue(env, work, kind->name, &promise);
  return promise;
}

/* What lib/ names the kinds by, so that their order is known in one place. */
napi_value call_kinds(napi_env env) {
  napi_value names, number;
  TRY(napi_create_object(env, &names));
  for (uint32_t index = 0; index < sizeof kinds / sizeof *kinds; index++) {
    TRY(napi_create_uint32(env, index, &number));
    TRY(napi_set_named_property(env, names, kinds[index].name, number));
  }
  return names;
}
