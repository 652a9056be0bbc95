/* The events of an agent in a libuv loop, which ends when its standard input does.
 * Argument: settings. */
#include <mesh_gossip.h>
#include <stdio.h>
#include <uv.h>

typedef struct {
  mesh_gossip_agent *agent;
  uv_poll_t events;
  uv_poll_t input;
} host;

static void take(uv_poll_t *handle, int status, int ready) {
  host *own = (host *)handle->data;
  mesh_gossip_events *events = NULL;
  size_t index;
  if (status < 0 || !(ready & UV_READABLE)) return;
  if (mesh_gossip_agent_take_events(own->agent, 64, &events, NULL)) return;
  for (index = 0; index < mesh_gossip_events_len(events); index++) {
    const mesh_gossip_event *event = mesh_gossip_events_at(events, index);
    if (event->member != NULL) {
      printf("event %u of %.*s\n", (unsigned)event->kind, (int)event->member->node_id.len,
             (const char *)event->member->node_id.data);
    } else {
      printf("event %u\n", (unsigned)event->kind);
    }
  }
  mesh_gossip_events_free(events);
  fflush(stdout);
}

static void said_goodbye(uv_work_t *work, int status) {
  host *own = (host *)work->data;
  (void)status;
  uv_close((uv_handle_t *)&own->events, NULL);
  uv_close((uv_handle_t *)&own->input, NULL);
}

/* Blocks, so on a thread of the pool; the loop goes on. */
static void say_goodbye(uv_work_t *work) {
  host *own = (host *)work->data;
  mesh_gossip_agent_leave(own->agent, 5000, NULL);
  mesh_gossip_agent_stop(own->agent, NULL);
}

static void end(uv_poll_t *handle, int status, int ready) {
  static uv_work_t work;
  (void)status;
  (void)ready;
  if (getchar() != EOF) return;
  uv_poll_stop(handle);
  work.data = handle->data;
  uv_queue_work(handle->loop, &work, say_goodbye, said_goodbye);
}

int main(int argc, char **argv) {
  host own;
  uv_loop_t *loop = uv_default_loop();
  mesh_gossip_error *err = NULL;
  mesh_gossip_options *options = NULL;
  own.agent = NULL;
  if (mesh_gossip_check_abi() ||
      mesh_gossip_options_from_file(argc > 1 ? argv[1] : "mesh.json", &options, &err) ||
      mesh_gossip_agent_start(options, &own.agent, &err)) {
    fprintf(stderr, "%s\n", mesh_gossip_error_message(err));
    return 1;
  }
  mesh_gossip_options_free(options);
  uv_poll_init(loop, &own.events, mesh_gossip_agent_events_fd(own.agent));
  uv_poll_init(loop, &own.input, 0);
  own.events.data = own.input.data = &own;
  uv_poll_start(&own.events, UV_READABLE, take);
  uv_poll_start(&own.input, UV_READABLE, end);
  uv_run(loop, UV_RUN_DEFAULT);
  uv_loop_close(loop);
  /* The descriptor was the loop's until here. */
  mesh_gossip_agent_free(own.agent);
  return 0;
}
