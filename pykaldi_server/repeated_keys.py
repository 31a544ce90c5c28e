"""Keys that a mapping of a YAML file has twice: YAML forbids it, PyYAML takes the last one without a word."""

import yaml

__all__ = ["repeated_keys"]


def repeated_keys(root: yaml.Node | None) -> list[tuple[int, str]]:
    """Returns the keys that a mapping of a document has had before.

    Args:
        root: what `yaml.compose` has made of the document.

    Returns:
        The numbers of their lines, from 1, and the keys, in the order of lines.
    """
    found = []
    nodes = [] if root is None else [root]
    known = set(map(id, nodes))  # aliases let a node be there twice, even within itself
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in keys:
                        found.append((key.start_mark.line + 1, key.value))
                    keys.add(key.value)
            inner = [each for _, each in node.value]
        else:
            inner = list(node.value) if isinstance(node, yaml.SequenceNode) else []
        nodes += [each for each in inner if id(each) not in known]
        known.update(map(id, inner))
    return sorted(found)
