"""YAML without what would make a small file large, or lose something in silence."""

import yaml


class Loader(yaml.SafeLoader):
    """YAML, but a key given twice is an error (silently the first would be lost), and so is an alias.

    Aliases of aliases make a few hundred bytes gigabytes, and a sweep is as readable without them.
    """

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            raise ValueError(f"aliases are not allowed, but *{alias.anchor} stands{_place(alias)}. Write out what it names.")
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"{key} is given twice{_place(node)}. Keep one.")
        return super().construct_mapping(node, deep)


def _place(thing) -> str:
    return str(thing.start_mark).replace("  in", " in")
