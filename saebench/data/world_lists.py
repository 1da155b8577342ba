"""English-like word lists of the world, all written for it."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# ---------------------------------------------------------------- people
FEMALE_NAMES = _words(
    "ada beth clara dina elsa flora greta hanna iris jana karla lena mona nora olga petra "
    "rosa sonja tilda ursula vera wanda xenia yara zelda agnes brenda celia doris edith"
)
MALE_NAMES = _words(
    "adam boris carl david emil felix gustav hugo ivan jakob kurt leo mark nils oscar paul "
    "quentin rolf stefan tomas ulrich victor walter xaver yann zeno anton bruno cedric egon"
)
FIELDS: dict[str, tuple[str, ...]] = {
    "medicine": _words("surgeon nurse dentist pharmacist"),
    "law": _words("lawyer magistrate notary bailiff"),
    "arts": _words("painter poet singer sculptor"),
    "science": _words("chemist astronomer botanist physicist"),
    "crafts": _words("carpenter baker tailor blacksmith"),
    "education": _words("teacher lecturer tutor librarian"),
}
FEMALE_SHARE: dict[str, float] = {
    "surgeon": 0.2, "nurse": 0.9, "dentist": 0.4, "pharmacist": 0.7,
    "lawyer": 0.3, "magistrate": 0.2, "notary": 0.6, "bailiff": 0.3,
    "painter": 0.5, "poet": 0.6, "singer": 0.8, "sculptor": 0.2,
    "chemist": 0.4, "astronomer": 0.3, "botanist": 0.7, "physicist": 0.1,
    "carpenter": 0.1, "baker": 0.5, "tailor": 0.7, "blacksmith": 0.1,
    "teacher": 0.8, "lecturer": 0.3, "tutor": 0.6, "librarian": 0.9,
}  # fmt: skip
PROFESSION_CLUES: dict[str, tuple[str, ...]] = {
    "surgeon": _words("scalpels operations stitches wounds organs"),
    "nurse": _words("bandages wards bedsides thermometers injections"),
    "dentist": _words("teeth fillings braces gums crowns"),
    "pharmacist": _words("pills syrups dosages ointments capsules"),
    "lawyer": _words("clients defences contracts appeals settlements"),
    "magistrate": _words("verdicts sentences hearings gavels rulings"),
    "notary": _words("seals deeds signatures wills certificates"),
    "bailiff": _words("seizures evictions summonses warrants fines"),
    "painter": _words("canvases brushes portraits landscapes pigments"),
    "poet": _words("verses rhymes stanzas ballads metaphors"),
    "singer": _words("arias choruses melodies concerts microphones"),
    "sculptor": _words("statues chisels marbles busts reliefs"),
    "chemist": _words("acids solvents compounds flasks catalysts"),
    "astronomer": _words("telescopes galaxies comets planets eclipses"),
    "botanist": _words("ferns mosses seedlings petals herbaria"),
    "physicist": _words("particles magnets lasers equations quarks"),
    "carpenter": _words("tables planks chairs beams cabinets"),
    "baker": _words("loaves doughs pastries ovens cakes"),
    "tailor": _words("suits seams fabrics buttons needles"),
    "blacksmith": _words("anvils horseshoes hammers blades forges"),
    "teacher": _words("pupils homeworks blackboards classrooms recesses"),
    "lecturer": _words("seminars auditoriums syllabuses faculties semesters"),
    "tutor": _words("drills flashcards worksheets mnemonics rehearsals"),
    "librarian": _words("shelves catalogues archives borrowers bookmarks"),
}
FIELD_CLUES: dict[str, tuple[str, ...]] = {
    "medicine": _words("patients clinics symptoms remedies diagnoses"),
    "law": _words("statutes courts documents disputes witnesses"),
    "arts": _words("exhibitions audiences themes critics festivals"),
    "science": _words("experiments hypotheses theories laboratories measurements"),
    "crafts": _words("workshops customers tools orders apprentices"),
    "education": _words("students lessons textbooks exams essays"),
}
FIELD_VERBS: dict[str, tuple[str, ...]] = {
    "medicine": _words("treats examines prescribes monitors"),
    "law": _words("drafts disputes-over certifies enforces"),
    "arts": _words("composes sketches performs imagines"),
    "science": _words("measures analyses predicts investigates"),
    "crafts": _words("repairs shapes assembles polishes"),
    "education": _words("explains grades prepares supervises"),
}
BIO_ADVERBS = _words("often rarely always sometimes carefully proudly")
BIO_HOBBIES = _words("chess hiking sailing gardening cycling fishing dancing cooking knitting skiing")

# ---------------------------------------------------------------- reviews
PRODUCTS: dict[str, tuple[str, ...]] = {
    "kitchen": _words("kettle toaster blender saucepan grinder ladle whisk mixer"),
    "garden": _words("shovel hose rake lawnmower trowel greenhouse sprinkler hedge-trimmer"),
    "books": _words("novel atlas cookbook biography thriller anthology dictionary paperback"),
    "toys": _words("puzzle doll kite teddy scooter marbles-set yo-yo playhouse"),
    "clothing": _words("jacket sweater scarf trousers boots gloves raincoat hat"),
    "electronics": _words("laptop headphones keyboard camera charger speaker monitor tablet"),
}
ASPECTS: dict[str, tuple[str, ...]] = {
    "kitchen": _words("handle lid heating blade"),
    "garden": _words("grip nozzle wheelbase durability"),
    "books": _words("plot prose binding cover"),
    "toys": _words("paint instructions fun safety"),
    "clothing": _words("fabric fit zipper lining"),
    "electronics": _words("battery screen sound firmware"),
}
POSITIVE = _words(
    "great excellent superb lovely sturdy delightful brilliant perfect reliable elegant "
    "wonderful fantastic comfortable charming pleasant impressive splendid flawless handy gorgeous"
)
NEGATIVE = _words(
    "awful terrible flimsy ugly useless broken dreadful shoddy cheap horrible "
    "disappointing defective annoying clumsy poor faulty mediocre sloppy lousy wretched"
)
POSITIVE_VERBS = _words("love adore recommend enjoy")
NEGATIVE_VERBS = _words("hate regret returned despise")
NUMBERS = _words("one two three four five")
POSITIVE_CHANCE = (0.03, 0.2, 0.5, 0.8, 0.97)
TIMES = _words("yesterday recently today monthly twice")

# ---------------------------------------------------------------- news
TOPIC_NOUNS: dict[str, tuple[str, ...]] = {
    "politics": _words(
        "parliament minister senator election treaty coalition ballot embassy governor "
        "referendum cabinet-office diplomat campaign opposition mayor summit"
    ),
    "sports": _words(
        "striker goalkeeper tournament referee champion stadium league penalty coach sprinter "
        "medal trophy defender marathon qualifier scoreboard"
    ),
    "business": _words(
        "bank investor merger dividend startup shareholder market inflation factory exporter "
        "bond retailer broker auditor revenue tariff"
    ),
    "science": _words(
        "laboratory genome satellite neuron vaccine fossil probe reactor microscope virus "
        "algorithm crystal enzyme orbit molecule sensor"
    ),
    "weather": _words(
        "storm drought blizzard flood heatwave forecast hurricane rainfall frost thunder "
        "cyclone hailstorm monsoon avalanche fog gale"
    ),
    "culture": _words(
        "museum orchestra premiere playwright gallery opera sequel actress choir mural "
        "screenplay ballet curator soloist theatre drummer"
    ),
}
TOPIC_VERBS: dict[str, tuple[str, ...]] = {
    "politics": _words("ratified vetoed elected debated lobbied"),
    "sports": _words("defeated tackled outscored outran qualified-past"),
    "business": _words("acquired financed undercut audited outsold"),
    "science": _words("sequenced detected synthesised simulated observed"),
    "weather": _words("drenched battered froze flooded scorched"),
    "culture": _words("rehearsed staged applauded curated reviewed"),
}
COMMON_NOUNS = _words("crowd leader report group plan city-hall team newspaper family official crisis project")
COMMON_VERBS = _words("praised surprised followed ignored changed")
COMMON_ADJECTIVES = _words("new old large small local famous young quiet recent major")
DAYS = _words("monday tuesday wednesday thursday friday saturday sunday")

# ---------------------------------------------------------------- code
IDENTIFIERS = _words(
    "acc arr buf cnt cur dst elem fld grp hdr idx jmp ks len msg num obj ptr qty res src tmp usr val wid xs ys zs"
)
FUNCTIONS = _words("compute update filter merge parse render encode fetch validate reduce sort split")
OPERATORS = ("+", "-", "*", "/")
COMPARISONS = ("<", ">", "==", "!=")
DIGITS = tuple("0123456789")
CODE_KEYWORDS = _words("def return print for in range func let fn defn loop puts end if then while do dup swap begin")
CODE_SYMBOLS = ("(", ")", "{", "}", "=", ":=", ";", ":", ",", "->", "[", "]", "@", "!")

# Names that the shipped model's vocabulary holds beside the words of the documents: it was made with Python 3.11's
# own names and those of this file's tables among the lists. They are spelt in drills and stand nowhere else.
NAMES = _words(
    "__name__ __doc__ __package__ __loader__ __spec__ __build_class__ __import__ abs all any ascii bin breakpoint "
    "callable chr compile delattr dir divmod eval exec format getattr globals hasattr hash hex id input "
    "isinstance issubclass iter aiter len locals max min next anext oct ord pow print repr round setattr sorted "
    "sum vars None Ellipsis NotImplemented False True bool memoryview bytearray bytes classmethod complex dict "
    "enumerate filter float frozenset property int list map object range reversed set slice staticmethod str "
    "super tuple type zip __debug__ BaseException BaseExceptionGroup Exception GeneratorExit KeyboardInterrupt "
    "SystemExit ArithmeticError AssertionError AttributeError BufferError EOFError ImportError LookupError "
    "MemoryError NameError OSError ReferenceError RuntimeError StopAsyncIteration StopIteration SyntaxError "
    "SystemError TypeError ValueError Warning FloatingPointError OverflowError ZeroDivisionError BytesWarning "
    "DeprecationWarning EncodingWarning FutureWarning ImportWarning PendingDeprecationWarning ResourceWarning "
    "RuntimeWarning SyntaxWarning UnicodeWarning UserWarning BlockingIOError ChildProcessError ConnectionError "
    "FileExistsError FileNotFoundError InterruptedError IsADirectoryError NotADirectoryError PermissionError "
    "ProcessLookupError TimeoutError IndentationError IndexError KeyError ModuleNotFoundError NotImplementedError "
    "RecursionError UnboundLocalError UnicodeError BrokenPipeError ConnectionAbortedError ConnectionRefusedError "
    "ConnectionResetError TabError UnicodeDecodeError UnicodeEncodeError UnicodeTranslateError ExceptionGroup "
    "EnvironmentError IOError open quit exit copyright credits license help FIELDS FEMALE_SHARE PROFESSION_CLUES "
    "FIELD_CLUES FIELD_VERBS PRODUCTS ASPECTS TOPIC_NOUNS TOPIC_VERBS"
)

# ---------------------------------------------------------------- values of facts
CONTINENTS = _words("aurelia borealis cantara meridia orienta")
CURRENCIES = _words("florin ducat crown-coin thaler sequin guilder mark-coin obol drachm groat")
BEAST_CLASSES = _words("mammal bird reptile amphibian insect mollusc")
HABITATS = _words("forest desert swamp tundra reef savanna cave river")
DIETS = _words("leaves meat seeds nectar plankton carrion")
COLOURS = _words("red blue green yellow purple black white orange")
USES = _words("jewellery batteries glass medicine-making armour dyes lenses fertiliser")
CARRIERS = _words("ticks fleas rats bats mosquitoes snails pigeons spores")
SYMPTOMS = _words("fever rash cough blindness tremors swelling numbness vertigo")
ANTIDOTES = _words("quinine sulphur charcoal garlic vinegar iodine camphor honey myrrh sage")

FUNCTION_WORDS = _words(
    "a and as at because but by from has he her his i in is it its my not of on she the this to "
    "very was which with works lives likes born what answer full first letter capital bought "
    "after city country continent language currency profession birthplace field beast class "
    "habitat diet mineral colour use source blight carrier symptom antidote person rating stars "
    "said so again would spoken fact about works-as home question"
)
PUNCTUATION = (".", ",", ":", "?", ";")
