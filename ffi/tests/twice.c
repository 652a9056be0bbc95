/* Two libraries in one process, and a library that is closed while its threads run.
 * Arguments: settings, the shared library, a copy of it. */
#define _GNU_SOURCE
#include "check.h"
#include <dlfcn.h>
#include <unistd.h>

/* The functions of one library. */
typedef struct {
  void *handle;
  mesh_gossip_result (*from_file)(const char *, mesh_gossip_options **, mesh_gossip_error **);
  mesh_gossip_result (*start)(const mesh_gossip_options *, mesh_gossip_agent **,
                              mesh_gossip_error **);
  const char *(*message)(const mesh_gossip_error *);
  mesh_gossip_result (*health)(const mesh_gossip_agent *, uint64_t, uint32_t *,
                               mesh_gossip_error **);
  const mesh_gossip_snapshot *(*acquire)(const mesh_gossip_agent *);
  size_t (*len)(const mesh_gossip_snapshot *);
  void (*release)(const mesh_gossip_snapshot *);
  mesh_gossip_result (*free_agent)(mesh_gossip_agent *);
  void (*free_options)(mesh_gossip_options *);
} library;

static void find(const library *of, const char *name, void *into) {
  void *found = dlsym(of->handle, name);
  CHECK(found != NULL);
  /* Object and function pointers are alike where there is a dlsym. */
  memcpy(into, &found, sizeof found);
}

static library of(void *handle) {
  library is;
  if (handle == NULL) fprintf(stderr, "%s\n", dlerror());
  CHECK(handle != NULL);
  is.handle = handle;
  find(&is, "mesh_gossip_options_from_file", &is.from_file);
  find(&is, "mesh_gossip_agent_start", &is.start);
  find(&is, "mesh_gossip_error_message", &is.message);
  find(&is, "mesh_gossip_agent_health", &is.health);
  find(&is, "mesh_gossip_snapshot_acquire", &is.acquire);
  find(&is, "mesh_gossip_snapshot_len", &is.len);
  find(&is, "mesh_gossip_snapshot_release", &is.release);
  find(&is, "mesh_gossip_agent_free", &is.free_agent);
  find(&is, "mesh_gossip_options_free", &is.free_options);
  return is;
}

static mesh_gossip_agent *start(const library *with, const char *file) {
  mesh_gossip_options *options = NULL;
  mesh_gossip_agent *agent = NULL;
  mesh_gossip_error *err = NULL;
  WORKS(with->from_file(file, &options, NULL));
  if (with->start(options, &agent, &err) != MESH_GOSSIP_OK) {
    fprintf(stderr, "%s\n", with->message(err));
    exit(1);
  }
  with->free_options(options);
  return agent;
}

static void use(const library *with, const mesh_gossip_agent *agent) {
  uint32_t health = 0;
  const mesh_gossip_snapshot *view = with->acquire(agent);
  CHECK(with->len(view) == 1);
  with->release(view);
  WORKS(with->health(agent, 20000, &health, NULL));
}

int main(int argc, char **argv) {
  library one, two;
  mesh_gossip_agent *of_one, *of_two;
  CHECK(argc == 4);
  one = of(dlopen(argv[2], RTLD_NOW | RTLD_LOCAL));
  /* A namespace of its own brings a C library of its own, which no tool looks into. */
  two = of(getenv("MESH_GOSSIP_ONE_NAMESPACE") ? dlopen(argv[3], RTLD_NOW | RTLD_LOCAL)
                                               : dlmopen(LM_ID_NEWLM, argv[3], RTLD_NOW));
  CHECK(one.start != two.start);
  of_one = start(&one, argv[1]);
  of_two = start(&two, argv[1]);
  use(&one, of_one);
  use(&two, of_two);
  WORKS(one.free_agent(of_one));
  use(&two, of_two);
  WORKS(two.free_agent(of_two));
  /* Closed, with an agent that runs. */
  of_one = start(&one, argv[1]);
  CHECK(dlclose(one.handle) == 0);
  usleep(100000);
  use(&one, of_one);
  WORKS(one.free_agent(of_one));
  CHECK(dlopen(argv[2], RTLD_NOW | RTLD_NOLOAD) != NULL);
  puts("all is well");
  return 0;
}
