import yaml

from data_contracts.parse_yaml import dump_yaml, parse_yaml

DATE = "tag:yaml.org,2002:timestamp"


def test_a_date_is_its_text_whatever_a_library_has_made_of_pyyaml(monkeypatch):
    text = "{name: 2026-11-22, rate: 1e-4}"
    meant = {"name": "2026-11-22", "rate": 1e-4}
    for constructor in (yaml.SafeLoader.construct_yaml_timestamp, yaml.SafeLoader.construct_yaml_str):
        monkeypatch.setitem(yaml.SafeLoader.yaml_constructors, DATE, constructor)
        assert (yaml.safe_load(text)["name"] == meant["name"]) == (constructor is yaml.SafeLoader.construct_yaml_str)
        assert parse_yaml(text, "it") == meant


def test_what_is_written_is_read_as_it_was_also_by_other_programs():
    tree = {"name": "1e5", "texts": ["2026-11-22", "-3.e+2", "yes", "0x1f", "ä: b", "# no", ""], "rate": 1e-4, "none": None}
    assert parse_yaml(dump_yaml(tree), "it") == yaml.safe_load(dump_yaml(tree)) == tree
    assert parse_yaml(yaml.safe_dump(tree), "it")["name"] == 1e5  # what plain YAML leaves without quotes
