/* What the addon is loaded by: it checks that library and header belong together, and names its
 * functions. */
#include "addon.h"

#include <stdio.h>

static napi_value refuse(napi_env env) {
  char message[128];
  snprintf(message, sizeof message, "libmesh_gossip has ABI version %u, this binding needs %u",
           (unsigned)mesh_gossip_abi_version(), (unsigned)MESH_GOSSIP_ABI_VERSION);
  napi_throw_error(env, "MESH_GOSSIP_ERR_ABI", message);
  return NULL;
}

#define FUNCTION(name, function) {name, NULL, function, NULL, NULL, NULL, napi_default, NULL}

static napi_value init(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
      FUNCTION("start", call_start),         FUNCTION("call", call_agent),
      FUNCTION("wait", agent_wait),          FUNCTION("keepAlive", agent_keep_alive),
      FUNCTION("stopNow", agent_stop_now),   FUNCTION("close", agent_close),
      FUNCTION("names", agent_names),        FUNCTION("events", read_events),
      FUNCTION("snapshot", read_snapshot),
  };
  napi_value kinds, version, features;
  if (mesh_gossip_check_abi() != MESH_GOSSIP_OK) return refuse(env);
  if (!records_fit()) {
    napi_throw_error(env, "MESH_GOSSIP_ERR_ABI", "the library's records are shorter than expected");
    return NULL;
  }
  TRY(napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions));
  kinds = call_kinds(env);
  version = value_string(env, mesh_gossip_version_string());
  if (kinds == NULL || version == NULL) return NULL;
  TRY(napi_set_named_property(env, exports, "kinds", kinds));
  TRY(napi_set_named_property(env, exports, "version", version));
  TRY(napi_create_bigint_uint64(env, mesh_gossip_features(), &features));
  TRY(napi_set_named_property(env, exports, "features", features));
  return exports;
}

NAPI_MODULE(mesh_gossip, init)
