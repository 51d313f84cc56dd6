"""Worked examples of the methods, as earlier turns; those of complicated input stand within its prompts.

Written for evolcoder. A model of 0.1 to 0.5 billion parameters does not follow the bare template; with two of
these before its question it follows it about half the time. None is near a HumanEval or MBPP problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shot:
    """A question and what a good teacher makes of it."""

    question: str
    """An instruction."""
    evolved: str
    """The instruction made harder."""


CODE_SHOTS: Mapping[str, tuple[Shot, ...]] = {
    "add-constraints": (
        Shot(
            "Write a Python function that reads a CSV file of orders and returns the total amount.",
            "Write a Python function that reads a CSV file of orders and returns the total amount per "
            "customer, skipping rows with a missing or negative price.",
        ),
        Shot(
            "Write a SQL query that lists all products of the category 'garden'.",
            "Write a SQL query that lists all products of the category 'garden' that were sold at least five "
            "times in 2023, sorted by revenue in descending order.",
        ),
        Shot(
            "Write a shell script that deletes the log files in a folder.",
            "Write a shell script that deletes the log files in a folder that are older than 14 days, but "
            "keeps the three newest and prints the space it freed.",
        ),
    ),
    "rare-requirement": (
        Shot(
            "Write a Python function that sorts a list of file names alphabetically.",
            "Write a Python function that sorts a list of file names in natural order, so that 'photo2.jpg' "
            "comes before 'photo10.jpg' and upper and lower case are treated alike.",
        ),
        Shot(
            "Write a JavaScript function that formats a number of seconds as text.",
            "Write a JavaScript function that formats a number of seconds as an ISO 8601 duration such as "
            "'PT1H2M5S', leaving out the parts that are zero.",
        ),
        Shot(
            "Write a Go program that prints the current date.",
            "Write a Go program that prints the current date as the ISO week number and weekday, for example "
            "'2024-W07-3', in the time zone given as the first argument.",
        ),
    ),
    "more-reasoning": (
        Shot(
            "Write a Python function that computes the average of the temperatures in a list.",
            "Write a Python function that takes a list of (hour, temperature) readings of one day with some "
            "hours missing. First fill each gap by linear interpolation between its neighbours, then "
            "compute the average for day and night separately, and finally return the larger of the two "
            "differences from the average of the whole day.",
        ),
        Shot(
            "Write a SQL query that counts the orders of each customer.",
            "Write a SQL query that counts the orders of each customer for each month, then compares each "
            "month with the customer's previous month, and returns only the customers whose count fell for "
            "three months in a row.",
        ),
        Shot(
            "Write a Rust function that adds up the prices in a shopping cart.",
            "Write a Rust function that adds up the prices in a shopping cart, where every third item of "
            "the same product is free, a voucher takes 10% off what remains, and shipping costs 4.90 unless "
            "the result is at least 50. Return the total in cents and the list of discounts that applied.",
        ),
    ),
    "misdirect": (
        Shot(
            "Write a Python function that removes the comments from a line of configuration text.",
            "Write a Python function that removes the comments from a line of configuration text. A '#' "
            "inside quotes does not start a comment. Here is an attempt that contains an error; do not rely "
            "on it:\n\ndef strip_comment(line):\n    return line.split('#')[0]",
        ),
        Shot(
            "Write a JavaScript function that copies a nested settings object.",
            "Write a JavaScript function that makes a deep copy of a nested settings object that may hold "
            "arrays and dates. A colleague proposes this code, which is wrong; find out why before you "
            "write yours:\n\nfunction copy(settings) {\n  return Object.assign({}, settings);\n}",
        ),
        Shot(
            "Write a C++ function that finds the largest value in a vector.",
            "Write a C++ function that finds the largest value in a vector, which may be empty or hold only "
            "negative numbers. The following reference is faulty:\n\n"
            "int largest(std::vector<int> v) {\n  int best = 0;\n  for (int i = 0; i <= v.size(); i++)\n"
            "    if (v[i] > best) best = v[i];\n  return best;\n}",
        ),
    ),
    "complexity": (
        Shot(
            "Write a Python function that tells which user ids occur in both of two lists.",
            "Write a Python function that tells which user ids occur in both of two lists that are sorted "
            "already. It must run in O(n + m) time and use O(1) memory beyond the result.",
        ),
        Shot(
            "Write a JavaScript class that keeps the highest of the latest scores.",
            "Write a JavaScript class that keeps the highest of the latest k scores of an endless stream. "
            "Adding a score and asking for the highest must both take O(1) amortized time.",
        ),
        Shot(
            "Write a Go function that counts the distinct words of a text file.",
            "Write a Go function that counts the distinct words of a text file of 50 GB, reading it once as "
            "a stream, with at most 64 MB of memory and a relative error below 2%.",
        ),
    ),
}

WIZARDLM_SHOTS: Mapping[str, tuple[Shot, ...]] = {
    "constraints": (
        Shot(
            "Suggest a gift for my sister.",
            "Suggest a gift for my sister that costs under 20 euros and can be made at home in one evening.",
        ),
        Shot(
            "Write a short story about a dog.",
            "Write a short story about a dog in at most 100 words, told by the dog and without dialogue.",
        ),
    ),
    "deepening": (
        Shot(
            "Why do leaves change their colour?",
            "Why do leaves change their colour in autumn, which substances cause each colour, and why do "
            "some trees stay green?",
        ),
        Shot(
            "How does a bicycle stay upright?",
            "How does a bicycle stay upright at speed, what changes when it is slow, and which of the usual "
            "explanations have been disproved?",
        ),
    ),
    "concretizing": (
        Shot(
            "Give me tips for a garden.",
            "Give me tips for growing tomatoes and basil on a shady balcony in a city.",
        ),
        Shot(
            "How can I save money?",
            "How can a student with a part-time job save 50 euros a month on food and travel?",
        ),
    ),
    "reasoning": (
        Shot(
            "Is it cheaper to bake bread at home?",
            "Is it cheaper to bake bread at home? List the costs of flour, yeast and electricity, compute "
            "the price of a loaf step by step, and compare it with the shop's.",
        ),
        Shot(
            "Which day is three days after Monday?",
            "Today is Monday. Which day was it 100 days ago? Explain each step of the calculation.",
        ),
    ),
    "breadth": (
        Shot("Explain how to boil an egg.", "Explain how to dry mushrooms so that they keep for a year."),
        Shot(
            "Write a birthday poem for my father.",
            "Write a short speech for the retirement of a lighthouse keeper.",
        ),
    ),
}
"""By operation; complicated input has its own."""

INPUT_SHOTS: Mapping[str, tuple[Shot, ...]] = {
    "xml": (
        Shot(
            "How do I find the cheapest item in an order?",
            "I received this order as XML. Which item is the cheapest per piece, and what is the total?\n"
            '<order id="7"><item name="rope" pieces="3" price="12.60"/><item name="hook" pieces="10" '
            'price="9.00"/></order>',
        ),
        Shot(
            "Tell me which of my flights are delayed.",
            "Here are my flights. Say which ones are late and whether I still reach the next one:\n"
            '<trip><flight no="K12" planned="08:10" now="08:55" lands="10:05"/><flight no="K40" '
            'planned="10:20" now="10:20" lands="12:00"/></trip>',
        ),
    ),
    "sql": (
        Shot(
            "Which customers should get a reminder?",
            "Our database holds these rows. Write a query for the customers who should get a reminder, and "
            "give its result:\nCREATE TABLE bills (customer TEXT, due DATE, paid BOOLEAN);\n"
            "INSERT INTO bills VALUES ('Adler', '2024-03-01', TRUE), ('Brandt', '2024-03-04', FALSE), "
            "('Cole', '2024-05-30', FALSE);\nToday is 2024-04-15.",
        ),
        Shot(
            "How many books does our library lack?",
            "Answer from this table how many books are lent out and late, by shelf:\n"
            "CREATE TABLE books (shelf CHAR(1), title TEXT, back_by DATE);\n"
            "INSERT INTO books VALUES ('A', 'Tides', NULL), ('A', 'Peat', '2024-01-09'), "
            "('C', 'Moss', '2024-02-20');\nIt is the first of February 2024.",
        ),
    ),
    "python": (
        Shot(
            "Why is my loop slow?",
            "This loop takes minutes for 100,000 names. Explain which line is to blame and rewrite it:\n"
            "seen = []\nfor name in names:\n    if name not in seen:\n        seen.append(name)",
        ),
        Shot(
            "Explain what a generator is.",
            "Use this code to explain what a generator is, and say what it prints and why:\n"
            "def steps():\n    for n in range(3):\n        print('made', n)\n        yield n\n\n"
            "it = steps()\nprint(next(it))",
        ),
    ),
    "html": (
        Shot(
            "How can I make my page easier to read for blind people?",
            "A screen reader says nothing of use on this page. Name each fault and give the mended page:\n"
            '<div onclick="buy()"><img src="cart.png"></div><p><b>Prices</b></p><input name="mail">',
        ),
        Shot(
            "Summarise the news of our club.",
            "Summarise this page in two sentences for a member who cannot come on Fridays:\n"
            "<h1>Rowing club</h1><ul><li>Friday 6 pm: boats are cleaned</li><li>Sunday 9 am: race on the "
            "lake</li><li>New fee from May: 12 euros</li></ul>",
        ),
    ),
    "shell": (
        Shot(
            "My disk is full. What can I delete?",
            "My disk is full. From this output, what is safe to delete, and by which commands?\n"
            "$ du -sh /var/* | sort -h | tail -3\n1.2G /var/cache\n3.9G /var/lib\n41G  /var/log",
        ),
        Shot(
            "How do I rename many files?",
            "Explain what this command does to 'a b.JPG', why it fails, and correct it:\n"
            "$ for f in $(ls *.JPG); do mv $f ${f%.JPG}.jpg; done",
        ),
    ),
    "json": (
        Shot(
            "Plan a walk for a dry afternoon.",
            "Choose the driest two hours in a row for a walk from this forecast and give your reason:\n"
            '{"day": "Sat", "rain_percent": {"12": 60, "13": 20, "14": 15, "15": 30, "16": 80}}',
        ),
        Shot(
            "How can I save money on my phone?",
            "From my bills, which plan would have been cheapest over the three months?\n"
            '{"used_gb": [2.1, 6.4, 3.0], "plans": [{"name": "S", "gb": 3, "price": 9, "gb_more": 4}, '
            '{"name": "L", "gb": 10, "price": 17}]}',
        ),
    ),
}
"""By format of the input that is added."""
