/* What only the library for tests has, beside all of mesh_gossip.h: defects on demand. It is neither
 * installed nor given away. */
#ifndef MESH_GOSSIP_HOOKS_H
#define MESH_GOSSIP_HOOKS_H
#include <mesh_gossip.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The next call of any function of the library panics within. Not of use to two threads at once. */
void mesh_gossip_hooks_panic_next(void);

/* Whether no call has met the panic yet; it is taken back. */
uint32_t mesh_gossip_hooks_was_unmet(void);

#ifdef __cplusplus
}
#endif

#endif /* MESH_GOSSIP_HOOKS_H */
