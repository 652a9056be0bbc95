/* Prints the version of the library.
 *
 *   cc -Iffi/include bindings/c/version.c -Ltarget/debug -lmesh_gossip -o version
 *   LD_LIBRARY_PATH=target/debug ./version
 */
#include <inttypes.h>
#include <stdio.h>

#include <mesh_gossip.h>

int main(void) {
  if (mesh_gossip_check_abi() != MESH_GOSSIP_OK) {
    fprintf(stderr, "mesh_gossip.h describes ABI %u, the library implements %" PRIu32 "\n",
            MESH_GOSSIP_ABI_VERSION, mesh_gossip_abi_version());
    return 1;
  }
  printf("mesh-gossip %s abi %" PRIu32 " features %" PRIu64 "\n", mesh_gossip_version_string(),
         mesh_gossip_abi_version(), mesh_gossip_features());
  return 0;
}
