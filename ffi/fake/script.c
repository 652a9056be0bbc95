/* The script, errors, and what else is asked of the library rather than of an agent. */
#include "fake.h"

#include <stdio.h>

struct mesh_gossip_error {
  mesh_gossip_result code;
  char *message, *field;
};

void *need(size_t count, size_t size) {
  void *memory = calloc(count == 0 ? 1 : count, size);
  if (memory == NULL) abort();
  return memory;
}

char *copy_text(const char *text) {
  char *copy = need(strlen(text) + 1, 1);
  memcpy(copy, text, strlen(text));
  return copy;
}

/* The n-th statement of this name, from behind the name on; NULL where there is none. */
static const char *statement(const char *name, size_t n, size_t *len) {
  const char *at = getenv("MESH_GOSSIP_FAKE");
  while (at != NULL && *at != '\0') {
    size_t name_len = strlen(name), all = strcspn(at, ";\n");
    bool named = all >= name_len && memcmp(at, name, name_len) == 0;
    if (named && (all == name_len || at[name_len] == '=') && n-- == 0) {
      *len = all - name_len;
      return at + name_len;
    }
    at += all + (at[all] != '\0');
  }
  return NULL;
}

bool script_has(const char *name) {
  size_t len;
  return statement(name, 0, &len) != NULL;
}

size_t script_number(const char *name, size_t otherwise) {
  size_t len = 0;
  const char *found = statement(name, 0, &len);
  return found != NULL && len > 1 ? strtoull(found + 1, NULL, 10) : otherwise;
}

char *script_text(const char *name, size_t n) {
  size_t len = 0;
  const char *found = statement(name, n, &len);
  char *copy;
  if (found == NULL || len == 0) return NULL;
  copy = need(len, 1);
  memcpy(copy, found + 1, len - 1);
  return copy;
}

/* Bytes from one record to the next, whose size the header says to be `known`. */
static size_t stride_of(const char *record, size_t known) {
  char *shorter = script_text("short", 0);
  bool is_short = shorter != NULL && strcmp(shorter, record) == 0;
  free(shorter);
  return is_short ? known - 8 : known + script_number("longer", 0);
}

mesh_gossip_result fail(mesh_gossip_error **err, mesh_gossip_result code, const char *field,
                        const char *message) {
  if (err != NULL) {
    *err = need(1, sizeof **err);
    (*err)->code = code;
    (*err)->message = copy_text(message);
    (*err)->field = field == NULL || field[0] == '\0' ? NULL : copy_text(field);
  }
  return code;
}

mesh_gossip_result script_failure(const char *function, mesh_gossip_error **err) {
  for (size_t n = 0;; n++) {
    char *text = script_text("fail", n), *rest = text;
    const char *parts[4] = {"", "", "", "scripted"};
    mesh_gossip_result code;
    if (text == NULL) return MESH_GOSSIP_OK;
    for (size_t part = 0; part < 4 && rest != NULL; part++) {
      parts[part] = rest;
      rest = part == 3 ? NULL : strchr(rest, ':');
      if (rest != NULL) *rest++ = '\0';
    }
    code = strcmp(parts[0], function) == 0 ? (mesh_gossip_result)strtol(parts[1], NULL, 10) : 0;
    if (code != MESH_GOSSIP_OK) fail(err, code, parts[2], parts[3]);
    free(text);
    if (code != MESH_GOSSIP_OK) return code;
  }
}

const char *mesh_gossip_error_message(const mesh_gossip_error *error) {
  return error == NULL ? "" : error->message;
}

const char *mesh_gossip_error_field(const mesh_gossip_error *error) {
  return error == NULL ? NULL : error->field;
}

mesh_gossip_result mesh_gossip_error_code(const mesh_gossip_error *error) {
  return error == NULL ? MESH_GOSSIP_OK : error->code;
}

void mesh_gossip_error_free(mesh_gossip_error *error) {
  if (error == NULL) return;
  free(error->message);
  free(error->field);
  free(error);
}

uint32_t mesh_gossip_abi_version(void) {
  return (uint32_t)script_number("abi", MESH_GOSSIP_ABI_VERSION);
}

const char *mesh_gossip_version_string(void) { return "0.0.0-fake"; }

uint64_t mesh_gossip_features(void) { return 0; }

static size_t members, labels, events, contacts;

/* Once, since they are asked for all the time. */
__attribute__((constructor)) static void measure(void) {
  members = stride_of("member", sizeof(mesh_gossip_member));
  labels = stride_of("label", sizeof(mesh_gossip_label));
  events = stride_of("event", sizeof(mesh_gossip_event));
  contacts = stride_of("contact", sizeof(mesh_gossip_contact));
}

size_t mesh_gossip_members_stride(void) { return members; }

size_t mesh_gossip_labels_stride(void) { return labels; }

size_t mesh_gossip_events_stride(void) { return events; }

size_t mesh_gossip_contacts_stride(void) { return contacts; }
