/* Commands of three threads beside a stop by two others: each command is done or told that the agent has
 * stopped, and once a stop has returned nothing is done any more. Argument: settings. */
#include "check.h"
#include <pthread.h>

#define TURNS 8

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* Read and written under the lock: how many commands are done in this turn, and stops. */
static int done = 0, stopped = 0;

static void count(int *counter) {
  pthread_mutex_lock(&lock);
  *counter += 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

static int read_under_lock(const int *counter) {
  int is;
  pthread_mutex_lock(&lock);
  is = *counter;
  pthread_mutex_unlock(&lock);
  return is;
}

/* Whether the agent still does what it is asked. A stop that was over before means that it does not. */
static int goes_on(mesh_gossip_result result, int was_stopped) {
  if (result == MESH_GOSSIP_ERR_STOPPED) return 0;
  CHECK(result == MESH_GOSSIP_OK && !was_stopped);
  count(&done);
  return 1;
}

static void *commands(void *user) {
  mesh_gossip_agent *agent = (mesh_gossip_agent *)user;
  int turn, over = 0;
  for (turn = 0; !over; turn++) {
    const mesh_gossip_snapshot *view;
    mesh_gossip_events *events = NULL;
    int was_stopped = read_under_lock(&stopped) > 0;
    over = !goes_on(mesh_gossip_agent_set_lifecycle(agent, (uint32_t)(turn % 2), NULL), was_stopped);
    /* What was published can be read throughout. */
    view = mesh_gossip_snapshot_acquire(agent);
    CHECK(mesh_gossip_snapshot_len(view) == 1);
    WORKS(mesh_gossip_agent_take_events(agent, 8, &events, NULL));
    mesh_gossip_events_free(events);
    mesh_gossip_snapshot_release(view);
  }
  return NULL;
}

static void *questions(void *user) {
  mesh_gossip_agent *agent = (mesh_gossip_agent *)user;
  int over = 0;
  while (!over) {
    mesh_gossip_text *text = NULL;
    int was_stopped = read_under_lock(&stopped) > 0;
    over = !goes_on(mesh_gossip_agent_peers_json(agent, 30000, &text, NULL), was_stopped);
    CHECK(over == (text == NULL));
    mesh_gossip_text_free(text);
  }
  return NULL;
}

/* What takes a lock of its own, or looks where others write. */
static void *renewals(void *user) {
  mesh_gossip_agent *agent = (mesh_gossip_agent *)user;
  int over = 0;
  while (!over) {
    const mesh_gossip_snapshot *view = NULL;
    mesh_gossip_contacts *contacts = NULL;
    mesh_gossip_events *events = NULL;
    int was_stopped = read_under_lock(&stopped) > 0;
    over = !goes_on(mesh_gossip_agent_reload(agent, NULL), was_stopped) ||
           !goes_on(mesh_gossip_agent_contacts(agent, 30000, &contacts, NULL), was_stopped) ||
           !goes_on(mesh_gossip_agent_join(agent, NULL, 0, NULL), was_stopped) ||
           !goes_on(mesh_gossip_agent_report_leases(agent, "queue", "{\"activeAssignments\":1}", NULL),
                    was_stopped);
    mesh_gossip_contacts_free(contacts);
    WORKS(mesh_gossip_snapshot_try_acquire(agent, &view, NULL));
    CHECK(mesh_gossip_snapshot_local(view) != NULL);
    WORKS(mesh_gossip_agent_take_events(agent, (size_t)-1, &events, NULL));
    mesh_gossip_events_free(events);
    mesh_gossip_snapshot_release(view);
  }
  return NULL;
}

static void *stop(void *user) {
  pthread_mutex_lock(&lock);
  /* In the midst of them. */
  while (done < 4) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  WORKS(mesh_gossip_agent_stop((mesh_gossip_agent *)user, NULL));
  count(&stopped);
  return NULL;
}

int main(int argc, char **argv) {
  void *(*const parts[5])(void *) = {commands, questions, renewals, stop, stop};
  int turn, index;
  CHECK(argc >= 2 && mesh_gossip_check_abi() == MESH_GOSSIP_OK);
  for (turn = 0; turn < TURNS; turn++) {
    mesh_gossip_agent *agent = started(argv[1], NULL);
    pthread_t threads[5];
    pthread_mutex_lock(&lock);
    done = stopped = 0;
    pthread_mutex_unlock(&lock);
    for (index = 0; index < 5; index++) {
      CHECK(pthread_create(&threads[index], NULL, parts[index], agent) == 0);
    }
    for (index = 0; index < 5; index++) CHECK(pthread_join(threads[index], NULL) == 0);
    CHECK(stopped == 2);
    FAILS(STOPPED, mesh_gossip_agent_set_lifecycle(agent, 0, NULL));
    WORKS(mesh_gossip_agent_free(agent));
  }
  puts("all is well");
  return 0;
}
