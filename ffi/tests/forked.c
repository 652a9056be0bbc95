/* A child of a fork has its parent's handles, and none of its threads. Arguments: settings; and
 * anything at all where the parent's threads have to end first, because a tool's allocator cannot
 * be forked while they use it. */
#include "check.h"
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

static void in_child(const char *file, mesh_gossip_agent *agent, mesh_gossip_options *options,
                     const mesh_gossip_snapshot *view) {
  uint8_t id[16] = {0};
  uint32_t health = 0;
  mesh_gossip_agent *own = NULL;
  mesh_gossip_events *events = NULL;
  mesh_gossip_text *text = NULL;
  mesh_gossip_contacts *contacts = NULL;
  const mesh_gossip_snapshot *newer = NULL;
  mesh_gossip_error *err = NULL;
  FAILS(FORKED, mesh_gossip_agent_leave(agent, 1000, NULL));
  FAILS(FORKED, mesh_gossip_agent_stop(agent, NULL));
  FAILS(FORKED, mesh_gossip_agent_free(agent));
  FAILS(FORKED, mesh_gossip_agent_take_events(agent, 1, &events, NULL));
  FAILS(FORKED, mesh_gossip_agent_set_label(agent, "a", "b", NULL));
  FAILS(FORKED, mesh_gossip_agent_set_lifecycle(agent, 0, NULL));
  FAILS(FORKED, mesh_gossip_agent_set_metadata(agent, "{}", NULL));
  FAILS(FORKED, mesh_gossip_agent_join(agent, NULL, 0, NULL));
  FAILS(FORKED, mesh_gossip_agent_reload(agent, NULL));
  FAILS(FORKED, mesh_gossip_agent_broadcast(agent, 1, id, 16, NULL));
  FAILS(FORKED, mesh_gossip_agent_send_to(agent, id, 1, id, 16, NULL));
  FAILS(FORKED, mesh_gossip_agent_peers_json(agent, 1000, &text, NULL));
  FAILS(FORKED, mesh_gossip_agent_report_leases(agent, "b", "{}", NULL));
  FAILS(FORKED, mesh_gossip_agent_lease_health_json(agent, 1000, &text, NULL));
  FAILS(FORKED, mesh_gossip_agent_contacts(agent, 1000, &contacts, NULL));
  FAILS(FORKED, mesh_gossip_snapshot_try_acquire(agent, &newer, NULL));
  CHECK(contacts == NULL && newer == NULL);
  FAILS(FORKED, mesh_gossip_agent_health(agent, 1000, &health, &err));
  CHECK(strstr(mesh_gossip_error_message(err), "fork") != NULL);
  mesh_gossip_error_free(err);
  FAILS(FORKED, mesh_gossip_options_set(options, "fanout", "4", NULL));
  FAILS(FORKED, mesh_gossip_agent_start(options, &own, NULL));
  CHECK(own == NULL && events == NULL && text == NULL);
  CHECK(mesh_gossip_snapshot_acquire(agent) == NULL && mesh_gossip_agent_events_fd(agent) == -1);
  /* What was acquired before can be read, and given back. */
  CHECK(mesh_gossip_snapshot_local(view)->node_id.len > 0);
  mesh_gossip_snapshot_release(view);
  mesh_gossip_options_free(options);
  /* An agent of its own. */
  own = started(file, NULL);
  WORKS(mesh_gossip_agent_health(own, 20000, &health, NULL));
  WORKS(mesh_gossip_agent_free(own));
}

int main(int argc, char **argv) {
  mesh_gossip_agent *agent;
  mesh_gossip_options *options = NULL;
  const mesh_gossip_snapshot *view;
  uint32_t health = 0;
  int status = 1;
  pid_t child;
  CHECK(argc >= 2 && mesh_gossip_check_abi() == MESH_GOSSIP_OK);
  WORKS(mesh_gossip_options_from_file(argv[1], &options, NULL));
  agent = started(argv[1], NULL);
  view = mesh_gossip_snapshot_acquire(agent);
  CHECK(fcntl(mesh_gossip_agent_events_fd(agent), F_GETFD) & FD_CLOEXEC);
  if (argc > 2) WORKS(mesh_gossip_agent_stop(agent, NULL));
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    in_child(argv[1], agent, options, view);
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  /* The parent has lost nothing. */
  if (argc == 2) WORKS(mesh_gossip_agent_health(agent, 20000, &health, NULL));
  mesh_gossip_snapshot_release(view);
  mesh_gossip_options_free(options);
  WORKS(mesh_gossip_agent_free(agent));
  puts("all is well");
  return 0;
}
