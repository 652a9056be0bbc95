/* Loaded before the library: one of the ABI after this one. */
#include <mesh_gossip.h>

uint32_t mesh_gossip_abi_version(void) { return MESH_GOSSIP_ABI_VERSION + 1; }
