/* Strings, bytes and outcomes on their way between C and JavaScript. */
#include "addon.h"

#include <stdlib.h>
#include <string.h>

napi_value value_text(napi_env env, mesh_gossip_bytes bytes) {
  napi_value value;
  TRY(napi_create_string_utf8(env, (const char *)bytes.data, bytes.len, &value));
  return value;
}

napi_value value_string(napi_env env, const char *text) {
  napi_value value;
  if (text == NULL) {
    TRY(napi_get_null(env, &value));
  } else {
    TRY(napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value));
  }
  return value;
}

napi_value value_id(napi_env env, const uint8_t *id) {
  static const char digits[] = "0123456789abcdef";
  char text[32];
  napi_value value;
  for (size_t index = 0; index < 16; index++) {
    text[2 * index] = digits[id[index] >> 4];
    text[2 * index + 1] = digits[id[index] & 15];
  }
  TRY(napi_create_string_latin1(env, text, sizeof text, &value));
  return value;
}

/* Takes the error over. */
napi_value value_outcome(napi_env env, mesh_gossip_result code, mesh_gossip_error *err,
                         napi_value value) {
  napi_value outcome = NULL, number, message, field;
  if (napi_create_object(env, &outcome) != napi_ok) goto done;
  if (napi_create_int32(env, code, &number) != napi_ok ||
      napi_set_named_property(env, outcome, "code", number) != napi_ok) {
    outcome = NULL;
    goto done;
  }
  if (code == MESH_GOSSIP_OK) {
    if (value != NULL) napi_set_named_property(env, outcome, "value", value);
    goto done;
  }
  message = value_string(env, mesh_gossip_error_message(err));
  field = value_string(env, mesh_gossip_error_field(err));
  if (message != NULL) napi_set_named_property(env, outcome, "message", message);
  if (field != NULL) napi_set_named_property(env, outcome, "field", field);
done:
  mesh_gossip_error_free(err);
  return outcome;
}

/* NULL with an exception pending where it is none or memory has run out. */
char *copy_string(napi_env env, napi_value value) {
  size_t len;
  char *text;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &len) != napi_ok) {
    napi_throw_type_error(env, NULL, "a string is expected");
    return NULL;
  }
  text = malloc(len + 1);
  if (text == NULL) {
    throw_memory(env);
    return NULL;
  }
  if (napi_get_value_string_utf8(env, value, text, len + 1, &len) != napi_ok) {
    free(text);
    return NULL;
  }
  return text;
}

bool copy_bytes(napi_env env, napi_value value, uint8_t **bytes, size_t *len) {
  napi_typedarray_type type;
  void *data;
  size_t length;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, NULL, NULL) != napi_ok ||
      type != napi_uint8_array) {
    napi_throw_type_error(env, NULL, "a Uint8Array is expected");
    return false;
  }
  *bytes = malloc(length + 1);
  if (*bytes == NULL) {
    throw_memory(env);
    return false;
  }
  if (length > 0) memcpy(*bytes, data, length);
  *len = length;
  return true;
}

napi_value throw_memory(napi_env env) {
  napi_throw_error(env, NULL, "out of memory");
  return NULL;
}
