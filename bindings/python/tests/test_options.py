"""What is wrong is told with its code and its name."""

import json
import pickle
from datetime import timedelta

import pytest

from mesh_gossip import (
    Agent, ArgumentError, ConfigError, CredentialsError, ErrorCode, Options, StoppedError,
)


def test_a_wrong_key_is_named():
    with pytest.raises(ConfigError) as told:
        Options.from_json({"mesh": {"gossip": {"fanuot": 4}}})
    assert told.value.code is ErrorCode.CONFIG
    assert told.value.field == "mesh:gossip:fanuot"
    assert "fanout" in told.value.message == str(told.value)
    assert isinstance(told.value, ValueError)
    again = pickle.loads(pickle.dumps(told.value))
    assert (again.code, again.field, str(again)) == (told.value.code, told.value.field, str(told.value))


def test_a_refused_setting_changes_nothing(mesh):
    with Options.from_json(mesh.settings("node-1")) as options:
        with pytest.raises(ConfigError) as told:
            options.set("interval", "5")
        assert told.value.field == "mesh:gossip:interval"
        options.set("interval", timedelta(milliseconds=1500)).set("adaptiveFanout", False)
        options.set("fanout", 4).set("region", "eu-1").set("seedPeers", [])
        with Agent.start(options) as agent:
            assert agent.snapshot().local.region == "eu-1"
    with pytest.raises(StoppedError):
        options.set("fanout", 4)


def test_strings_that_c_cannot_take():
    with pytest.raises(ArgumentError) as told:
        Options.from_json("{}\0")
    assert (told.value.code, told.value.field) == (ErrorCode.ARGUMENT, "document")
    with pytest.raises(ArgumentError) as told:
        Options.from_json("\ud800")
    assert told.value.code is ErrorCode.UTF8


def test_certificates_that_do_not_hold(mesh, tmp_path):
    nothing = tmp_path / "empty.pem"
    nothing.write_text("")
    settings = mesh.settings("node-1")
    settings["mesh"]["gossip"]["tls"]["certificatePath"] = str(nothing)
    with pytest.raises(CredentialsError) as told:
        Agent.start(settings)
    assert told.value.code is ErrorCode.CREDENTIALS


def test_from_a_file_under_the_environment(mesh, tmp_path, monkeypatch):
    file = tmp_path / "node-1.json"
    file.write_text(json.dumps(mesh.settings("node-1")))
    monkeypatch.setenv("MESH__GOSSIP__REGION", "eu-2")
    with Agent.start(file) as agent:
        assert agent.snapshot().local.region == "eu-2"


def test_an_agent_that_is_disabled(mesh):
    with pytest.raises(ConfigError) as told:
        Agent.start(mesh.settings("node-1", enabled=False))
    assert (told.value.code, told.value.field) == (ErrorCode.DISABLED, "mesh:gossip:enabled")
