/* What may be called from within a callback, and what may not. Argument: settings. */
#include "check.h"
#include <pthread.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* All below is read and written under the lock. */
static mesh_gossip_agent *agent = NULL;
static int woken = 0, logged = 0;
static const char *settings = NULL;

static mesh_gossip_agent *known(void) {
  mesh_gossip_agent *is;
  pthread_mutex_lock(&lock);
  is = agent;
  pthread_mutex_unlock(&lock);
  return is;
}

static void count(int *counter) {
  pthread_mutex_lock(&lock);
  *counter += 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

static void nothing_that_waits_for_its_end(mesh_gossip_agent *of) {
  mesh_gossip_options *options = NULL;
  mesh_gossip_agent *another = NULL;
  mesh_gossip_error *err = NULL;
  WORKS(mesh_gossip_options_from_file(settings, &options, NULL));
  FAILS(REENTRANT, mesh_gossip_agent_start(options, &another, NULL));
  mesh_gossip_options_free(options);
  FAILS(REENTRANT, mesh_gossip_agent_leave(of, 1000, NULL));
  FAILS(REENTRANT, mesh_gossip_agent_stop(of, &err));
  CHECK(strlen(mesh_gossip_error_message(err)) > 0);
  mesh_gossip_error_free(err);
  FAILS(REENTRANT, mesh_gossip_agent_free(of));
}

static void wake(void *user) {
  mesh_gossip_agent *of = known();
  const mesh_gossip_snapshot *view;
  mesh_gossip_events *events = NULL;
  uint32_t health = 0;
  CHECK(user == &woken);
  /* Events may come before the start has returned, and while a stop waits. */
  if (of == NULL) return;
  nothing_that_waits_for_its_end(of);
  view = mesh_gossip_snapshot_acquire(of);
  CHECK(mesh_gossip_snapshot_len(view) == 1);
  mesh_gossip_snapshot_release(view);
  WORKS(mesh_gossip_agent_take_events(of, 100, &events, NULL));
  mesh_gossip_events_free(events);
  switch (mesh_gossip_agent_health(of, 5000, &health, NULL)) {
    case MESH_GOSSIP_OK:
    case MESH_GOSSIP_ERR_STOPPED: break;
    default: CHECK(0);
  }
  count(&woken);
}

static void take(void *user, uint32_t level, const char *message, const char *fields) {
  mesh_gossip_agent *of = known();
  mesh_gossip_text *text = NULL;
  CHECK(user == &logged && level >= 1 && level <= 5 && message != NULL && fields[0] == '{');
  if (of == NULL) return;
  nothing_that_waits_for_its_end(of);
  FAILS(REENTRANT, mesh_gossip_agent_set_label(of, "a", "b", NULL));
  FAILS(REENTRANT, mesh_gossip_agent_peers_json(of, 1000, &text, NULL));
  CHECK(text == NULL);
  mesh_gossip_snapshot_release(mesh_gossip_snapshot_acquire(of));
  count(&logged);
}

static void *ask(void *user) {
  int turn;
  for (turn = 0; turn < 200; turn++) {
    mesh_gossip_agent *of = (mesh_gossip_agent *)user;
    const mesh_gossip_snapshot *view = mesh_gossip_snapshot_acquire(of);
    mesh_gossip_events *events = NULL;
    CHECK(mesh_gossip_snapshot_local(view) != NULL);
    WORKS(mesh_gossip_agent_take_events(of, 1, &events, NULL));
    mesh_gossip_events_free(events);
    mesh_gossip_snapshot_release(view);
  }
  return NULL;
}

static void hear(void *user, uint32_t level, const char *message, const char *fields) {
  CHECK(level <= MESH_GOSSIP_LOG_DEBUG && fields[0] == '{');
  if (strstr(message, "peer updated") != NULL) count((int *)user);
}

/* Whether an event of a kind is there. */
static int told(const mesh_gossip_agent *of, uint32_t kind) {
  mesh_gossip_events *events = NULL;
  size_t index;
  int found = 0;
  WORKS(mesh_gossip_agent_take_events(of, 1000, &events, NULL));
  for (index = 0; index < mesh_gossip_events_len(events); index++) {
    found |= mesh_gossip_events_at(events, index)->kind == kind;
  }
  mesh_gossip_events_free(events);
  return found;
}

/* A line is heard by whose it is, though an agent that nobody listens to says the like before. It has
 * to be the first line of its kind in this process. */
static void heard_beside_a_silent_one(const char *file) {
  static int heard = 0;
  mesh_gossip_start_options start;
  mesh_gossip_agent *loud, *silent;
  int turn, is = 0;
  WORKS(mesh_gossip_start_options_init(&start, sizeof start));
  start.log = hear;
  start.log_user = &heard;
  start.log_level = MESH_GOSSIP_LOG_DEBUG;
  loud = started(file, &start);
  silent = started(file, NULL);
  WORKS(mesh_gossip_agent_set_lifecycle(silent, MESH_GOSSIP_LIFECYCLE_CORDONED, NULL));
  for (turn = 0; turn < 3000 && !told(silent, MESH_GOSSIP_EVENT_UPDATED); turn++) usleep(10000);
  CHECK(turn < 3000);
  WORKS(mesh_gossip_agent_set_lifecycle(loud, MESH_GOSSIP_LIFECYCLE_CORDONED, NULL));
  for (turn = 0; turn < 3000 && !is; turn++) {
    usleep(10000);
    pthread_mutex_lock(&lock);
    is = heard > 0;
    pthread_mutex_unlock(&lock);
  }
  CHECK(is);
  WORKS(mesh_gossip_agent_free(silent));
  WORKS(mesh_gossip_agent_free(loud));
}

int main(int argc, char **argv) {
  mesh_gossip_start_options start;
  mesh_gossip_agent *own;
  pthread_t threads[4];
  int index, both = 0, turn;
  CHECK(argc >= 2 && mesh_gossip_check_abi() == MESH_GOSSIP_OK);
  settings = argv[1];
  /* Else an event may come seconds later. */
  CHECK(setenv("MESH__GOSSIP__EVENTS__DELIVERY", "immediate", 1) == 0);
  heard_beside_a_silent_one(settings);
  WORKS(mesh_gossip_start_options_init(&start, sizeof start));
  start.wake = wake;
  start.wake_user = &woken;
  start.log = take;
  start.log_user = &logged;
  start.log_level = MESH_GOSSIP_LOG_DEBUG;
  own = started(settings, &start);
  pthread_mutex_lock(&lock);
  agent = own;
  pthread_mutex_unlock(&lock);
  /* Several threads at once, on one agent. */
  for (index = 0; index < 4; index++) CHECK(pthread_create(&threads[index], NULL, ask, own) == 0);
  for (index = 0; index < 4; index++) CHECK(pthread_join(threads[index], NULL) == 0);
  /* An empty box, so that the next event wakes. */
  for (turn = 0; turn < 3000 && !both; turn++) {
    mesh_gossip_events *events = NULL;
    WORKS(mesh_gossip_agent_take_events(own, 1000, &events, NULL));
    mesh_gossip_events_free(events);
    /* Each is an event, and a line of the log. */
    WORKS(mesh_gossip_agent_set_lifecycle(own, (uint32_t)(turn % 2), NULL));
    WORKS(mesh_gossip_agent_set_label(own, "turn", turn % 2 ? "a" : "b", NULL));
    WORKS(mesh_gossip_agent_reload(own, NULL));
    usleep(10000);
    pthread_mutex_lock(&lock);
    both = woken > 0 && logged > 0;
    pthread_mutex_unlock(&lock);
  }
  CHECK(both);
  WORKS(mesh_gossip_agent_stop(own, NULL));
  /* No callback runs any more: this is read without the lock. */
  index = woken + logged;
  usleep(50000);
  CHECK(index == woken + logged);
  WORKS(mesh_gossip_agent_free(own));
  puts("all is well");
  return 0;
}
