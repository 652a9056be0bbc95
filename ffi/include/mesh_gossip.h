/* mesh-gossip: embeddable gossip membership. C ABI, version 1.
 *
 * Every function is thread-safe. Strings are UTF-8 and NUL-terminated.
 */
#ifndef MESH_GOSSIP_H
#define MESH_GOSSIP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The ABI that this header describes. */
#define MESH_GOSSIP_ABI_VERSION 1u

/* Outcome of a call. */
typedef int32_t mesh_gossip_result;

#define MESH_GOSSIP_OK ((mesh_gossip_result)0)
/* Header and library do not belong together. */
#define MESH_GOSSIP_ERR_ABI ((mesh_gossip_result)1)

/* The ABI that the library implements. */
uint32_t mesh_gossip_abi_version(void);

/* The version of the library, for example "0.1.0". Static: never freed. */
const char *mesh_gossip_version_string(void);

/* The optional parts that the library was built with, one bit each. */
uint64_t mesh_gossip_features(void);

/* Whether the library loaded is the one that this header describes. Call it first. */
static inline mesh_gossip_result mesh_gossip_check_abi(void) {
  return mesh_gossip_abi_version() == MESH_GOSSIP_ABI_VERSION ? MESH_GOSSIP_OK
                                                              : MESH_GOSSIP_ERR_ABI;
}

#ifdef __cplusplus
}
#endif

#endif
