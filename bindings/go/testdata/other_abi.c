/* Loaded before the library: one of the ABI after this one. */
#include <stdint.h>

uint32_t mesh_gossip_abi_version(void) { return 2; }
