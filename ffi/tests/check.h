/* What the C programs of these tests share. They are C99 and C++17 alike. */
#ifndef CHECK_H
#define CHECK_H
#include <mesh_gossip.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(holds)                                              \
  do {                                                            \
    if (!(holds)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #holds); \
      exit(1);                                                    \
    }                                                             \
  } while (0)

/* The code, and nothing written where it tells of a failure. */
#define FAILS(code, call) CHECK((call) == (MESH_GOSSIP_ERR_##code))
#define WORKS(call) CHECK((call) == MESH_GOSSIP_OK)

/* Starts an agent from a file. */
static inline mesh_gossip_agent *started(const char *file,
                                         const mesh_gossip_start_options *start) {
  mesh_gossip_options *options = NULL;
  mesh_gossip_agent *agent = NULL;
  mesh_gossip_error *err = NULL;
  WORKS(mesh_gossip_options_from_file(file, &options, NULL));
  if (mesh_gossip_agent_start_with(options, start, &agent, &err) != MESH_GOSSIP_OK) {
    fprintf(stderr, "%s\n", mesh_gossip_error_message(err));
    exit(1);
  }
  mesh_gossip_options_free(options);
  CHECK(agent != NULL && err == NULL);
  return agent;
}

#endif
