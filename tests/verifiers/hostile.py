"""Texts that were written to hang, crash or exhaust a verifier, or to make it fail. One list for each kind of task."""

from __future__ import annotations

HOSTILE_ANSWERS = [
    r"9^{9^{9^9}}",
    "9**9**9**9",
    "9^9^9",
    r"10^{10^{10}}",
    r"10^{1000000}",
    r"10^{100000000}",
    r"(10^9)!",
    "99999!",
    "9999999!",
    "9!!!!!!",
    r"\binom{1000000000}{500000000}",
    r"\sum_{k=1}^{1000000000} \sin(k)",
    r"\prod_{k=1}^{10000000} k",
    r"\int_0^1 \sin(x^x)\cos(e^{x^2})\,dx",
    r"\lim_{x\to 0} \frac{\sin(x^{x^x})}{x^{\tan x}}",
    r"\sqrt{2+" * 60 + "1" + "}" * 60,
    r"\sqrt{2+" * 400 + "1" + "}" * 400,
    r"\frac{1}{1+" * 200 + "1" + "}" * 200,
    "{" * 30 + "41" + "}" * 30,
    "{" * 2000 + "41" + "}" * 2000,
    "(" * 14 + "41" + ")" * 14,
    "(" * 3000 + "41" + ")" * 3000,
    "7" * 100_000,
    r"(x+1)^{5000}",
    r"(1+\pi)^{5000}",
    r"\sin(" * 12 + "1" + ")" * 12,
    r"\det\begin{pmatrix}"
    + r"\\".join("&".join(f"x_{{{i}{j}}}" for j in range(8)) for i in range(8))
    + r"\end{pmatrix}",
    r"2^{10000000000} \mod 3",
    r"\sin(7^{e^{e^{e^{10e}}}}+1)",
    r"e^{e^{e^{27}}}+1",
    r"e^{e^{e^{e^{3}}}}-e^{e^{e^{e^{3}}}}\cdot 2",
    r"\log_{2}(\log_{4}(\log_{8}(\log_{16}(2^{2^{2^{2^{2}}}}))))",
    r"\frac{\sin(10000000 x)}{\cos(10000000 x)}",
    r"\frac{\sin(10000000)}{\cos(10000000)}",
    r"\sum_{n=1}^{\infty}\frac{1}{n^{1.0001}}",
    r"\{" + ",".join(map(str, range(3000))) + r"\}",
    r"1\pm1" * 50,
    r"\{" + ",".join(rf"\sqrt{{{n}}}" for n in range(40)) + r"\}",
    "1e999999999",
    r"\frac{1}{10^{9999999}}",
    r"\overline{" * 100 + "1" + "}" * 100,
    "1/" * 100 + "1",
    "-" * 280 + "1",
    r"\cup" * 60,
    ":" * 250,
    "(" * 280,
    ",".join("[" * 100),
    r"\text{" * 50 + "a" + "}" * 50,
]

HOSTILE_TEXTS = [
    "1 " * 100_000,
    r"\[" * 50_000,
    "answer: $x " * 15_000,
    r"\boxed{" * 5000,
    r"\boxed{" * 5000 + "42" + "}" * 5000,
    "</think>" * 20_000,
    "#### " * 20_000,
    "```\n" * 20_000,
    "{" * 200_000,
    "\\" * 200_000,
]

TEXTS = [
    "", " ", "\x00", "\ud800", "\u200b", "\u202e42", "\U0001f600", "\u0661", "\u00bd", "%s%n", "{}", "[]", "null",
    "NaN", "\\", "\\\\", "$", "}{", "<think>", "</think>", "<|im_end|>", "#### ", "Answer:", "1e999999999", "9" * 5000,
    "-" * 5000, "(" * 5000, "[" * 5000, '{"a":' * 5000, "\\boxed{" * 500, "x" * 50_000, "\r\n\x0b\x0c\u2028\u2029\x85",
]  # fmt: skip

MATHEMATICS = [
    *HOSTILE_ANSWERS, r"(\sqrt{2}, 1e99999)", r"x=x \in [-2,7]", r"x \in [-2,7]\text{ cm}", r"\{1,2\}=x",
    r"\begin{pmatrix}1", r"\begin{pmatrix}1&2\\3\end{pmatrix}", r"\frac{1}{0}", r"\frac{\infty}{\infty}", r"0^{-1}",
    r"\log 0", r"\tan(\pi/2)", r"x<y<z", r"1<x>2", r"\cup", r"[1,2]\cup x", r"\{\}\cup\{1\}", r"\infty-\infty", r"_",
    "^", r"x^", r"\sqrt{}", r"|", r"\left(", "1/2/3", "1:2:3", r"\pm\pm 1", "=", "==", "x==y", r"\text{", r"5\text{}",
    "%", r"\%", "$$", "i^i", r"\sum", r"\int", r"\vec{x}=2", r"f(x)=\{1", r"x\to\infty", r"A\cap B", r"\emptyset=0",
    r"\sqrt[0]{2}", r"2^{\infty}", r"\binom{-1}{-1}", r"\begin{vmatrix}\end{vmatrix}",
]  # fmt: skip

DOCUMENTS = [
    "1" + "0" * 400, "-" + "9" * 400, "1e308", "1e309", "0.1", "[" * 70 + "]" * 70, '"a{99999999999}"',
    '"' + "(" * 5000 + '"', '"(?P<a"', '"[[:"', '"\\ud800"', '{"a":1,"a":1}', '"2024-13-45T99:99:99Z"', '"\u0661"',
    '{"__proto__":{}}', "true", '""',
]  # fmt: skip

PROGRAMS = [
    "", "\x00", "def f(", "raise SystemExit", "import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)",
    "raise MemoryError", "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass",
    "import signal; signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\nwhile True: pass",
    "import sys; sys.setrecursionlimit(10**9)\ndef g(): g()\ng()", "(" * 5000, "x" * 200_000, "print('a' * 10**9)",
    "while True: pass", "import os\nwhile True: os.fork()", "a = [0] * 10**12",
]  # fmt: skip

QUERIES = [
    "", ";", "SELECT", "SELECT ;;", "SELECT 1; SELECT 2", "DROP TABLE t", "SELECT " + "(" * 3000, "SELECT x'",
    "SELECT 1/0", "\x00", "WITH RECURSIVE a(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM a) SELECT COUNT(*) FROM a",
    "SELECT randomblob(1000000000)", "SELECT load_extension('x')", "PRAGMA user_version=1", "ATTACH 'x' AS y",
    "SELECT " + "1+" * 5000 + "1", "SELECT zeroblob(2147483647)", "SELECT printf('%.*c', 1000000000, 'a')",
    "SELECT abs(-9223372036854775808)", "VALUES (1)", "EXPLAIN SELECT 1",
]  # fmt: skip

CALLS = [
    '<tool_call>{"name": "f", "arguments": ' + '{"a":' * 500 + "</tool_call>", "<tool_call>" * 5000,
    "<tool_call></tool_call>" * 500, '<tool_call>{"name": 1, "arguments": 1}</tool_call>',
    '<tool_call>{"name": "f", "arguments": {"a": 1e400}}</tool_call>',
]  # fmt: skip
