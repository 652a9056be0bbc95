// A member of a mesh, for as long as nobody presses enter. Argument: settings (mesh.json).
#include <mesh_gossip.hpp>

#include <iostream>

int main(int argc, char **argv) try {
  using namespace std::chrono_literals;
  const auto options = mesh_gossip::options::from_file(argc > 1 ? argv[1] : "mesh.json").value();
  mesh_gossip::agent agent = mesh_gossip::agent::start(options).value();
  std::cin.get();
  for (const mesh_gossip::member member : agent.snapshot().value()) {
    std::cout << member.node_id() << " at " << member.endpoint() << '\n';
  }
  agent.leave(5s).value();
} catch (const mesh_gossip::failure &why) {
  std::cerr << why.what() << '\n';
  return 1;
}
