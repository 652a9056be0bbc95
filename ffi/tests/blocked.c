/* A host that does nothing for ten seconds is not missed, since the engine has threads of its own;
 * and what it did not take meanwhile is lost with a mark, to the last event. Argument: the directory
 * of a.json, b.json and c.json. */
#include "mesh.h"

#include <signal.h>
#include <sys/wait.h>

#define BLOCKED_MS 10000
#define SAID 300

/* What a host took. */
struct taken {
  uint64_t broadcasts, missed, changes, overflow;
};

static void take_all(const mesh_gossip_agent *agent, struct taken *taken) {
  mesh_gossip_events *events = NULL;
  size_t index;
  CHECK(mesh_gossip_agent_take_events(agent, 64, &events, NULL) == MESH_GOSSIP_OK);
  for (index = 0; index < mesh_gossip_events_len(events); index++) {
    const mesh_gossip_event *event = mesh_gossip_events_at(events, index);
    if (event->kind == MESH_GOSSIP_EVENT_BROADCAST) taken->broadcasts++;
    if (event->kind == MESH_GOSSIP_EVENT_MISSED) taken->missed += event->count;
    if (event->kind == MESH_GOSSIP_EVENT_UPDATED) taken->changes++;
    if (event->kind == MESH_GOSSIP_EVENT_OVERFLOW) taken->overflow += event->count;
  }
  mesh_gossip_events_free(events);
}

/* The number behind a line's begin in the metrics. */
static uint64_t metric(const mesh_gossip_agent *agent, const char *name) {
  mesh_gossip_text *text = NULL;
  const char *found;
  char *copy;
  uint64_t value;
  CHECK(mesh_gossip_agent_metrics_text(agent, 5000, &text, NULL) == MESH_GOSSIP_OK);
  copy = calloc(1, mesh_gossip_text_len(text) + 1);
  CHECK(copy != NULL);
  memcpy(copy, mesh_gossip_text_data(text), mesh_gossip_text_len(text));
  mesh_gossip_text_free(text);
  found = strstr(copy, name);
  CHECK(found != NULL && found[strlen(name)] == ' ');
  value = strtoull(found + strlen(name), NULL, 10);
  free(copy);
  return value;
}

/* The child: starts an agent with small queues, tells that it runs, and then does nothing at all. */
static void host(const char *directory, int seed_from, int tell_to) {
  const char *const small[] = {"limits:events", "4", "events:delivery", "immediate", NULL};
  struct taken taken = {0, 0, 0, 0};
  mesh_gossip_agent *agent;
  mesh_gossip_member member;
  struct timespec block = {BLOCKED_MS / 1000, 0};
  sigset_t all;
  char seed[128] = "", value[16];
  CHECK(read(seed_from, seed, sizeof seed - 1) > 0);
  agent = start(directory, "c", seed, 4, small);
  CHECK(write(tell_to, "runs", 4) == 4);
  /* Not even a signal disturbs it. */
  sigfillset(&all);
  CHECK(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
  CHECK(nanosleep(&block, NULL) == 0);
  /* The view needs nobody who takes events. */
  CHECK(look(agent, "a", &member, "step", value, sizeof value) && strcmp(value, "last") == 0);
  CHECK(sees(agent, "b", MESH_GOSSIP_STATUS_ALIVE));
  UNTIL((take_all(agent, &taken), taken.broadcasts + taken.missed >= SAID && taken.overflow > 0 &&
                                      taken.missed + taken.overflow ==
                                          metric(agent, "\nmesh_gossip_events_lost_total")));
  CHECK(taken.broadcasts + taken.missed == SAID && taken.missed > 0 && taken.changes > 0);
  printf("%u of %d broadcasts and %u of %u other events came after %d s, the rest as a count; ",
         (unsigned)taken.broadcasts, SAID, (unsigned)taken.changes,
         (unsigned)(taken.changes + taken.overflow), BLOCKED_MS / 1000);
  CHECK(mesh_gossip_agent_leave(agent, 5000, NULL) == MESH_GOSSIP_OK);
  CHECK(mesh_gossip_agent_free(agent) == MESH_GOSSIP_OK);
  fflush(stdout);
  _exit(0);
}

/* Ends where anybody doubts `name`; whether it has left by its own word. */
static int undoubted(const mesh_gossip_agent *agent, const char *name) {
  mesh_gossip_events *events = NULL;
  size_t index;
  int left = 0;
  CHECK(mesh_gossip_agent_take_events(agent, 1024, &events, NULL) == MESH_GOSSIP_OK);
  for (index = 0; index < mesh_gossip_events_len(events); index++) {
    const mesh_gossip_event *event = mesh_gossip_events_at(events, index);
    CHECK(event->kind != MESH_GOSSIP_EVENT_OVERFLOW);
    if (event->member == NULL || !is(event->member->node_id, name)) continue;
    CHECK(event->kind != MESH_GOSSIP_EVENT_SUSPECTED);
    CHECK(event->kind != MESH_GOSSIP_EVENT_UNREACHABLE);
    if (event->kind == MESH_GOSSIP_EVENT_LEFT) {
      CHECK(event->detail == MESH_GOSSIP_REASON_LEFT);
      left = 1;
    }
  }
  mesh_gossip_events_free(events);
  return left;
}

int main(int argc, char **argv) {
  const char *const at_once[] = {"events:delivery", "immediate", NULL};
  mesh_gossip_agent *a, *b;
  int seeds[2], told[2], status = 1, number;
  char word[8], step[16];
  pid_t child;
  CHECK(argc == 2 && mesh_gossip_check_abi() == MESH_GOSSIP_OK);
  CHECK(pipe(seeds) == 0 && pipe(told) == 0);
  child = fork();
  if (child == 0) host(argv[1], seeds[0], told[1]);
  CHECK(child > 0);
  a = start(argv[1], "a", NULL, 0, at_once);
  b = start(argv[1], "b", mesh_gossip_agent_address(a), 0, at_once);
  CHECK(write(seeds[1], mesh_gossip_agent_address(a), strlen(mesh_gossip_agent_address(a))) > 0);
  CHECK(read(told[0], word, sizeof word) == 4);
  UNTIL(sees(a, "c", MESH_GOSSIP_STATUS_ALIVE) && sees(b, "c", MESH_GOSSIP_STATUS_ALIVE));
  for (number = 0; number < SAID; number++) {
    uint8_t said[2] = {(uint8_t)number, (uint8_t)(number >> 8)};
    CHECK(mesh_gossip_agent_broadcast(a, 7, said, sizeof said, NULL) == MESH_GOSSIP_OK);
    snprintf(step, sizeof step, "%d", number);
    if (number % 50 == 0) {
      const mesh_gossip_agent *by = number % 100 == 0 ? a : b;
      CHECK(mesh_gossip_agent_set_label(by, "step", step, NULL) == MESH_GOSSIP_OK);
    }
    pause_ms(15);
  }
  CHECK(mesh_gossip_agent_set_label(a, "step", "last", NULL) == MESH_GOSSIP_OK);
  UNTIL(undoubted(a, "c"));
  UNTIL(undoubted(b, "c"));
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(mesh_gossip_agent_free(a) == MESH_GOSSIP_OK && mesh_gossip_agent_free(b) == MESH_GOSSIP_OK);
  puts("all is well");
  return 0;
}
