/* Mistakes of a host that the tools have to find, though the library is not instrumented.
 * Arguments: settings, and which one. */
#include "check.h"
#include <unistd.h>

static int plain = 0;

static void wake(void *user) { *(int *)user += 1; }

static void late(const char *settings) {
  mesh_gossip_agent *agent = started(settings, NULL);
  const mesh_gossip_snapshot *view = mesh_gossip_snapshot_acquire(agent);
  const mesh_gossip_member *own = mesh_gossip_snapshot_local(view);
  mesh_gossip_agent_free(agent);
  CHECK(own->counter != 77);
  mesh_gossip_snapshot_release(view);
  /* Borrowed from what was given back. */
  CHECK(own->counter != 77);
}

static void leak(const char *settings) {
  mesh_gossip_options *options = NULL;
  WORKS(mesh_gossip_options_from_file(settings, &options, NULL));
  options = NULL;
}

static void race(const char *settings) {
  mesh_gossip_start_options start;
  mesh_gossip_agent *agent;
  WORKS(mesh_gossip_start_options_init(&start, sizeof start));
  start.wake = wake;
  start.wake_user = &plain;
  agent = started(settings, &start);
  /* Another event, another wake: nothing orders it and this. */
  WORKS(mesh_gossip_agent_set_label(agent, "a", "b", NULL));
  plain += 1;
  usleep(200000);
  plain += 1;
  mesh_gossip_agent_free(agent);
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  if (strcmp(argv[2], "late") == 0) late(argv[1]);
  if (strcmp(argv[2], "leak") == 0) leak(argv[1]);
  if (strcmp(argv[2], "race") == 0) race(argv[1]);
  puts("all is well");
  return 0;
}
