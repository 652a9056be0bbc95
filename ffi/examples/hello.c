/* A member of a mesh, for as long as nobody presses enter. Argument: settings (mesh.json). */
#include <mesh_gossip.h>
#include <stdio.h>

int main(int argc, char **argv) {
  mesh_gossip_error *err = NULL;
  mesh_gossip_options *options = NULL;
  mesh_gossip_agent *agent = NULL;
  if (mesh_gossip_check_abi() ||
      mesh_gossip_options_from_file(argc > 1 ? argv[1] : "mesh.json", &options, &err) ||
      mesh_gossip_agent_start(options, &agent, &err)) {
    fprintf(stderr, "%s\n", mesh_gossip_error_message(err));
    return 1;
  }
  getchar();
  const mesh_gossip_snapshot *view = mesh_gossip_snapshot_acquire(agent);
  printf("%zu members\n", mesh_gossip_snapshot_len(view));
  mesh_gossip_snapshot_release(view);
  mesh_gossip_agent_leave(agent, 5000 /* ms */, NULL);
  mesh_gossip_agent_free(agent);
  mesh_gossip_options_free(options);
  return 0;
}
