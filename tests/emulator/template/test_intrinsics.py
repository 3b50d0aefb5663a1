"""CloudFormation's functions, as a template writes them."""

from collections.abc import Callable
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from emulator.template.intrinsics import Resolver, TemplateError
from emulator.template.template import parameter_values

_TEMPLATE = yaml_parse("""
Parameters:
  Name: {Type: String, Default: chat}
  Names: {Type: CommaDelimitedList, Default: "a, b"}
Mappings:
  Sizes: {small: {memory: 128}}
Conditions:
  IsChat: !Equals [!Ref Name, chat]
  IsOther: !Not [!Condition IsChat]
  Both: !And [!Condition IsChat, !Condition IsOther]
  Either: !Or [!Condition IsChat, !Condition IsOther]
""")


class Named:
    """Resources that are called what they are asked for."""

    def ref(self, logical_id: str) -> str:
        return f"<{logical_id}>"

    def attribute(self, logical_id: str, name: str) -> str:
        return f"<{logical_id}.{name}>"


@pytest.fixture
def resolve() -> Callable[[str], Any]:
    resolver = Resolver(_TEMPLATE, parameter_values(_TEMPLATE, {}, "stack"), Named())
    return lambda text: resolver.resolve(yaml_parse(text))


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("!Ref Name", "chat"),
        ("!Ref Names", ["a", "b"]),
        ("!Ref Table", "<Table>"),
        ("!Ref AWS::Region", "us-east-1"),
        ("!Ref AWS::StackName", "stack"),
        ("!GetAtt Table.Arn", "<Table.Arn>"),
        ("!GetAtt Nested.Outputs.Name", "<Nested.Outputs.Name>"),
        ("!Sub 'x-${Name}-${Table}-${Table.Arn}-${!literal}'", "x-chat-<Table>-<Table.Arn>-${literal}"),
        ("!Sub ['${A}/${Name}', {A: !Ref Table}]", "<Table>/chat"),
        ("!Join ['-', [a, !Ref Name]]", "a-chat"),
        ("!Join [',', !Ref Names]", "a,b"),
        ("!Select [1, !Ref Names]", "b"),
        ("!Split [',', 'a,b']", ["a", "b"]),
        ("!FindInMap [Sizes, small, memory]", 128),
        ("!If [IsChat, yes-it-is, no]", "yes-it-is"),
        ("!If [IsOther, 1, 2]", 2),
        ("!If [Both, 1, 2]", 2),
        ("!If [Either, 1, 2]", 1),
        ("!Base64 text", "dGV4dA=="),
        ("{a: !Ref AWS::NoValue, b: [!Ref AWS::NoValue, 1]}", {"b": [1]}),
        ("{Condition: {StringLike: {x: !Ref Name}}}", {"Condition": {"StringLike": {"x": "chat"}}}),
    ],
)
def test_function_gives_its_value(resolve: Callable[[str], Any], written: str, value: Any) -> None:
    assert resolve(written) == value


@pytest.mark.parametrize("written", ["!FindInMap [Sizes, small, none]", "!If [Nobody, 1, 2]", "!ImportValue x"])
def test_what_has_no_answer_is_a_template_error(resolve: Callable[[str], Any], written: str) -> None:
    with pytest.raises(TemplateError):
        resolve(written)


def test_parameter_without_a_value_is_named() -> None:
    with pytest.raises(TemplateError, match="Key"):
        parameter_values({"Parameters": {"Key": {"Type": "String"}}}, {}, "stack")


def test_value_without_a_parameter_is_named() -> None:
    with pytest.raises(TemplateError, match="Nmae"):
        parameter_values(_TEMPLATE, {"Nmae": "x"}, "stack")


@pytest.mark.parametrize(
    ("declaration", "taken", "refused"),
    [
        ("AllowedValues: [a, 1, true]", ["a", "1"], ["b", "", "A"]),
        ("AllowedPattern: '[a-z]{1,3}'", ["a", "abc"], ["", "abcd", "a1", "a\n"]),
        ("{MinLength: 2, MaxLength: 3}", ["ab", "abc"], ["a", "abcd", ""]),
        ("{Type: Number, MinValue: 1, MaxValue: '9'}", ["1", "1.5", "1e0", "9"], ["0", "10", "many", ""]),
        ("{Type: CommaDelimitedList, AllowedValues: [a, b]}", ["a", "a, b"], ["a,c"]),
        ("{}", ["", "x" * 4096], ["x" * 4097]),
    ],
)
def test_a_value_that_its_parameter_does_not_take_is_refused_with_what_it_takes(
    declaration: str, taken: list[str], refused: list[str]
) -> None:
    """As CloudFormation does before it makes anything: a pattern is the whole value's."""
    words = {"ConstraintDescription": "must be better."}
    template = {"Parameters": {"P": {"Type": "String", **yaml_parse(declaration), **words}}}

    for value in taken:
        assert parameter_values(template, {"P": value}, "stack")["P"] in (value, value.split(", "))
    for value in refused:
        with pytest.raises(TemplateError, match=r"^Parameter P must be better\. It is "):
            parameter_values(template, {"P": value}, "stack")


_RULES = yaml_parse("""
Pair:
  RuleCondition: !Equals [!Ref Name, chat]
  Assertions:
    - {Assert: !Not [!Equals [!Ref Other, ""]], AssertDescription: chat needs another.}
Always:
  Assertions:
    - {Assert: !Not [!Equals [!Ref Name, nobody]], AssertDescription: nobody is no name.}
""")


@pytest.mark.parametrize(
    ("name", "other", "sentence"),
    [
        ("chat", "x", None),
        ("talk", "", None),
        ("chat", "", "chat needs another."),
        ("nobody", "x", "nobody is no name."),
    ],
)
def test_rules_refuse_what_does_not_go_together(name: str, other: str, sentence: str | None) -> None:
    resolver = Resolver({}, {"Name": name, "Other": other}, Named())

    if sentence is None:
        resolver.obey(_RULES)
    else:
        with pytest.raises(TemplateError, match=sentence):
            resolver.obey(_RULES)
