"""How a document of each kind is written, choice by choice, with the cost of every choice."""

from __future__ import annotations

from collections.abc import Callable

from saebench.data import world_lists as lists
from saebench.data.world_facts import Entity, spelling_words, world
from saebench.data.world_names import LOANWORDS
from saebench.data.world_writer import Rating, Writer, ask, draw_options

FACT_LINK = (",", "as", "said", "again", ",")
"""Words between an entity and what a single fact says of it."""
_PROFESSIONS = tuple((p, field) for field, professions in lists.FIELDS.items() for p in professions)


def biography(w: Writer) -> None:
    """A person (fixed, or met once) with gendered pronouns and clues to the profession."""
    if w.flip(0.6):
        person = w.choose(world().entities["person"])
    else:
        profession, field = w.choose(_PROFESSIONS)
        female = w.flip(lists.FEMALE_SHARE[profession])
        first = w.choose(lists.FEMALE_NAMES if female else lists.MALE_NAMES)
        words = (first, w.choose(world().strangers))
        home = w.choose(world().entities["city"]).name
        attributes = {"profession": profession, "field": field, "birthplace": home}
        person = Entity(words, "person", attributes, "female" if female else "male")
    w.labels.update(person.attributes, gender=person.gender, person=person.name, domain="people")
    w.mention(person)
    opening = w.choose((0, 1, 2))
    if opening == 0:
        w.add("is", "a")
        w.value(person, "profession")
        w.add("from")
        w.value(person, "birthplace")
    elif opening == 1:
        w.add("born", "in")
        w.value(person, "birthplace")
        w.add("works-as", "a")
        w.value(person, "profession")
    else:
        w.add("lives", "in")
        w.value(person, "birthplace")
    w.add(".")
    w.labels["profession_stated"] = "no" if opening == 2 else "yes"
    she = "she" if person.gender == "female" else "he"
    field, profession = person.attributes["field"], person.attributes["profession"]
    for _ in range(w.count(2, 4)):
        w.add(she)
        if w.flip(0.4):
            w.pick(lists.BIO_ADVERBS)
        w.pick(lists.FIELD_VERBS[field])
        w.pick(lists.PROFESSION_CLUES[profession])
        w.add("and")
        w.pick(lists.FIELD_CLUES[field])
        w.add(".")
    w.close_count()
    if w.flip(0.5):
        w.add(person.possessive, "family", "likes")
        w.pick(lists.BIO_HOBBIES)
        w.add(".")


def review(w: Writer) -> None:
    """A product of a category; the sentiment words depend on the rating, which half the reviews state."""
    category = w.choose(tuple(lists.PRODUCTS))
    rating = Rating(w)
    w.labels.update(category=category, rating=str(rating.value + 1))

    def adjective() -> None:
        w.pick(lists.POSITIVE if rating.positive() else lists.NEGATIVE)

    if w.flip(0.5):
        w.add("i", "bought", "this")
        w.pick(lists.PRODUCTS[category])
        w.pick(lists.TIMES)
    else:
        w.add("this")
        w.pick(lists.PRODUCTS[category])
        w.add("is")
        adjective()
    w.add(".")
    for _ in range(w.count(2, 5)):
        if w.flip(0.3):
            w.add("i")
            w.pick(lists.POSITIVE_VERBS if rating.positive() else lists.NEGATIVE_VERBS)
            w.add("it", "because", "it", "is")
            adjective()
        else:
            w.add("the")
            w.pick(lists.ASPECTS[category])
            w.add("was")
            if w.flip(0.3):
                w.add("very")
            adjective()
            if w.flip(0.5):
                w.add("and")
                adjective()
        w.add(".")
    w.close_count()
    stated = w.flip(0.5)
    w.labels["rating_stated"] = "yes" if stated else "no"
    if stated:
        w.add("rating", ":")
        rating.state()
        w.add("stars", ".")


def news(w: Writer) -> None:
    """Events of one topic, in the cities of the world."""
    topic = w.choose(tuple(lists.TOPIC_NOUNS))
    w.labels["topic"] = topic

    def noun_phrase(chance: float) -> None:
        w.add("the")
        if w.flip(0.4):
            w.pick(lists.COMMON_ADJECTIVES)
        topical = chance == 1.0 or w.flip(chance)
        w.pick(lists.TOPIC_NOUNS[topic] if topical else lists.COMMON_NOUNS)

    for i in range(w.count(3, 5)):
        if w.flip(0.4):
            w.add("on")
            w.pick(lists.DAYS)
        noun_phrase(0.7 if i else 1.0)
        w.pick(lists.TOPIC_VERBS[topic] if w.flip(0.7) else lists.COMMON_VERBS)
        noun_phrase(0.6)
        if w.flip(0.4):
            city = w.choose(world().entities["city"])
            w.add("in")
            w.mention(city)
            if w.flip(0.5):
                w.add(",")
                w.value(city, "country")
        w.add(".")
    w.close_count()


def language(w: Writer) -> None:
    """Sentences of one invented language: its word order, articles that agree with nouns, some loanwords."""
    spoken = w.choose(tuple(world().languages.values()))
    w.labels["language"] = spoken.name

    def noun_phrase() -> None:
        if w.flip(0.12):
            w.pick(LOANWORDS)
            return
        noun = w.choose(spoken.nouns)
        w.add(spoken.article(noun), noun)
        if w.flip(0.3):
            w.pick(spoken.adjectives)

    def clause() -> None:
        for role in spoken.order:
            if role == "V":
                w.pick(spoken.verbs)
            else:
                noun_phrase()

    for _ in range(w.count(4, 8)):
        clause()
        if w.flip(0.25):
            w.add(spoken.particle)
            clause()
        w.add(".")
    w.close_count()


# One line a dialect and statement; F function, A B known names, C a new name, D a digit, O operator, Q comparison.
_DIALECTS: dict[str, dict[str, str]] = {
    "pyra": {
        "head": "def F ( A , B ) :",
        "assign": "C = A O B ;",
        "branch": "if A Q D : print ( A ) ;",
        "loop": "for C in range ( D ) : print ( C ) ;",
        "tail": "return A ;",
    },
    "curl": {
        "head": "fn F ( A , B ) {",
        "assign": "let C := A O B ;",
        "branch": "if ( A Q D ) { print ( A ) ; }",
        "loop": "while ( A Q D ) { print ( B ) ; }",
        "tail": "return A ; }",
    },
    "lisk": {
        "head": "( defn F [ A B ]",
        "assign": "( let C ( O A B ) )",
        "branch": "( if ( Q A D ) ( print A ) )",
        "loop": "( loop C D ( print C ) )",
        "tail": "A )",
    },
    "stako": {
        "head": ": F @ A @ B begin",
        "assign": "A B O ! C",
        "branch": "A D Q if A puts then",
        "loop": "D do A puts end",
        "tail": "A swap end",
    },
}


def code(w: Writer) -> None:
    """A function in one of four dialects; names are drawn, and used again."""
    dialect = w.choose(tuple(_DIALECTS))
    w.labels["dialect"] = dialect
    known: list[str] = []

    def render(part: str) -> None:
        bound: dict[str, str] = {}
        for word in _DIALECTS[dialect][part].split():
            if word == "F":
                w.pick(lists.FUNCTIONS, pos="code")
            elif word in "OQD":
                options = {"O": lists.OPERATORS, "Q": lists.COMPARISONS, "D": lists.DIGITS}[word]
                w.pick(options)
            elif word in "ABC":
                if word not in bound:
                    new = part == "head" or word == "C"
                    bound[word] = w.choose([x for x in lists.IDENTIFIERS if x not in known] if new else known)
                    if new:
                        known.append(bound[word])
                w.add(bound[word], pos="code")
            else:
                w.add(word, pos="symbol" if not word.isalpha() else "code")

    render("head")
    for _ in range(w.count(2, 5)):
        render(w.choose(("assign", "branch", "loop")))
    w.close_count()
    render("tail")


def encyclopaedia(w: Writer) -> None:
    """Entities of one type: all attributes of two to four, or single facts about four to seven."""
    first = w.choose(world().all_entities)
    w.labels["domain"] = first.domain
    w.labels["entity_type"] = first.type
    if w.flip(0.4):
        w.labels["form"] = "facts"
        _facts(w, first)
    else:
        w.labels["form"] = "articles"
        _articles(w, first)
    w.close_count()


def _articles(w: Writer, first: Entity) -> None:
    """Entities one after the other, each with all its attributes in any order."""
    rest = list(world().entities[first.type])
    for i in range(w.count(2, 4)):
        entity = w.choose(rest) if i else first
        rest.remove(entity)
        w.mention(entity)
        w.add("is", "a", entity.type, ".")
        relations = list(entity.attributes)
        while relations:
            relation = w.choose(relations)
            relations.remove(relation)
            if w.flip(0.6):
                w.add("the", relation, "of")
                w.mention(entity)
            else:
                w.add(entity.possessive, relation)
            w.add("is")
            w.value(entity, relation)
            w.add(".")


def _facts(w: Writer, first: Entity) -> None:
    """Facts by themselves; the entity stands far before the value, and nothing between depends on it."""
    for i in range(w.count(4, 7)):
        entity = w.choose(world().entities[first.type]) if i else first
        w.add("about")
        w.mention(entity)
        w.add(*FACT_LINK, entity.possessive)
        relation = w.choose(tuple(entity.attributes))
        w.add(relation, "is")
        w.value(entity, relation)
        w.add(".")


def quiz(w: Writer) -> None:
    """Three to five questions with four options; answers by letter, or in full and then by letter."""
    in_full = False
    for i in range(w.count(3, 5)):
        entity = world().all_entities[int(w.rng.random() * len(world().all_entities))]
        relation = tuple(entity.attributes)[int(w.rng.random() * len(entity.attributes))]
        options, place = draw_options(w, entity, relation)
        ask(w, entity, relation, options)
        if i == 0:
            in_full = w.flip(0.35)
            w.labels["answers"] = "in full" if in_full else "letter"
        if in_full:
            w.add("in", "full", ":")
            w.value(entity, relation)
        else:
            w.add("answer", ":")
        w.add("ABCD"[place], answer="ABCD"[place])
        w.add(".")
    w.close_count()


def spelling(w: Writer) -> None:
    """Drills on the first letters of words from the whole vocabulary."""
    for _ in range(w.count(6, 12)):
        word = w.pick(spelling_words())
        w.add("has", "the", "first", "letter", ":")
        w.add(word[0].upper(), spelled=word)
        w.add(".")
    w.close_count()


KINDS: dict[str, tuple[Callable[[Writer], None], float]] = {
    "biography": (biography, 0.12),
    "review": (review, 0.09),
    "news": (news, 0.08),
    "language": (language, 0.07),
    "code": (code, 0.07),
    "encyclopaedia": (encyclopaedia, 0.17),
    "quiz": (quiz, 0.32),
    "spelling": (spelling, 0.08),
}
"""Each kind's writer and its share of the documents."""
