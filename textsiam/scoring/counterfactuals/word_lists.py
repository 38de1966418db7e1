"""The words that the rules of counterfactuals exchange: short lists, written by hand, each as safe as a list can be.

Left out on purpose: words with a second meaning (Will, May, Turkey, Apple), and synonyms that only some contexts allow.
"""

# ruff: noqa: SIM905  words are read more easily without a quotation mark around each  # noqa: RUF100

# A line: the forms of one word | the same forms of its opposite. Each pair is in the table of `judging.opposites` too.
OPPOSITES = """
buy buys buying bought | sell sells selling sold
lend lends lending lent | borrow borrows borrowing borrowed
win wins winning won | lose loses losing lost
send sends sending sent | receive receives receiving received
arrive arrives arriving arrived | depart departs departing departed
accept accepts accepting accepted | reject rejects rejecting rejected
allow allows allowing allowed | forbid forbids forbidding forbidden
increase increases increasing increased | decrease decreases decreasing decreased
upload uploads uploading uploaded | download downloads downloading downloaded
upgrade upgrades upgrading upgraded | downgrade downgrades downgrading downgraded
encrypt encrypts encrypting encrypted | decrypt decrypts decrypting decrypted
deposit deposits depositing deposited | withdraw withdraws withdrawing withdrawn
attack attacks attacking attacked | defend defends defending defended
gain gains gaining gained | lose loses losing lost
improve improves improving improved | worsen worsens worsening worsened
advantage advantages | disadvantage disadvantages
cheap | expensive
maximum | minimum
ascending | descending
horizontal | vertical
temporary | permanent
online | offline
""".strip()

# Longer and shorter, more and less.
COMPARED = """
larger|smaller
bigger|smaller
taller|shorter
longer|shorter
faster|slower
cheaper|costlier
higher|lower
older|younger
stronger|weaker
richer|poorer
heavier|lighter
hotter|colder
better|worse
largest|smallest
biggest|smallest
tallest|shortest
longest|shortest
fastest|slowest
highest|lowest
oldest|youngest
strongest|weakest
richest|poorest
heaviest|lightest
hottest|coldest
best|worst
"""

# Units of one dimension, from small to large; each is exchanged for a neighbour.
UNIT_ROWS = (
    "second minute hour day week month year".split(),
    "seconds minutes hours days weeks months years".split(),
    "centimetres metres kilometres".split(),
    "centimeters meters kilometers".split(),
    "inches feet yards miles".split(),
    "mm cm km".split(),
    "milligrams grams kilograms".split(),
    "mg g kg".split(),
    ["kg", "lbs"],
    "KB MB GB TB".split(),
    "millilitres litres gallons".split(),
    "watts kilowatts megawatts".split(),
    ["km", "miles"],
    "kHz MHz GHz".split(),
)

WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
# Without March and May, which are words as well.
MONTHS = "January February April June July August September October November December".split()

NAMES = (
    "James John Robert Michael David Thomas Daniel Paul Peter Kevin Brian Steven Eric Oliver Rahul Amit Rohan".split(),
    "Mary Linda Susan Sarah Karen Nancy Laura Emily Anna Julia Maria Alice Helen Priya Pooja Anita".split(),
)

PLACES = (
    "Paris London Madrid Rome Berlin Vienna Lisbon Athens Moscow Tokyo Beijing Bangkok Cairo Nairobi Oslo".split(),
    "Chicago, Boston, Seattle, Houston, Dallas, Denver, Atlanta, Philadelphia, Miami, San Francisco, Los Angeles".split(
        ", "
    ),
    "Mumbai Bangalore Chennai Kolkata Hyderabad Pune Jaipur Ahmedabad".split(),
    "Melbourne Sydney Brisbane Perth Adelaide".split(),
    "Toronto Vancouver Montreal Calgary Ottawa".split(),
    "Munich Hamburg Cologne Frankfurt Stuttgart".split(),
    "Germany France Italy Spain Poland Sweden Norway Portugal Greece Austria Denmark Finland Switzerland".split(),
    "India, China, Japan, Pakistan, Bangladesh, Nepal, Vietnam, Thailand, Indonesia, Malaysia, Sri Lanka".split(", "),
    "Canada Australia Mexico Brazil Argentina".split(),
    "Egypt Nigeria Kenya Ethiopia Ghana Uganda".split(),
    "California Texas Florida Ohio Arizona Oregon Nevada".split(),
)

# Of one class each, so that a sentence about one can be said of another.
PRODUCTS = (
    "Chrome Firefox Safari".split(),
    "Facebook Twitter Instagram LinkedIn Snapchat Pinterest".split(),
    "WhatsApp Telegram Viber".split(),
    ["Gmail", "Hotmail"],
    "Python Java JavaScript Ruby PHP Kotlin".split(),
    "Windows Linux macOS Ubuntu".split(),
    ["iPhone", "iPad"],
    "MySQL PostgreSQL MongoDB SQLite".split(),
    "Netflix Hulu Spotify".split(),
    "Photoshop Illustrator GIMP".split(),
    "PayPal Stripe Venmo".split(),
    "Samsung Sony Nokia Motorola Huawei".split(),
    "Toyota Honda Nissan Volkswagen Hyundai".split(),
    ["Uber", "Lyft"],
    ["Excel", "PowerPoint"],
)

VERSIONS = {
    "windows": "7 8 10 11".split(),
    "ios": "10 11 12 15 16 17".split(),
    "android": "7 8 9 10 12 13".split(),
    "python": "2.7 3.6 3.8 3.9 3.11 2 3".split(),
    "java": "7 8 11 17 21".split(),
    "php": "5 7 8".split(),
    "angular": "2 4 8 12".split(),
    "iphone": "5 6 7 8 11 12 13".split(),
    "ubuntu": "14.04 16.04 18.04 20.04 22.04".split(),
    "bootstrap": "3 4 5".split(),
}

# Interchangeable nearly everywhere.
SYNONYMS = """
someone|somebody
anyone|anybody
everyone|everybody
nearly|almost
maybe|perhaps
sofa|couch
lawyer|attorney
lawyers|attorneys
frequently|often
till|until
due to|because of
versus|vs
ok|okay
movie|film
movies|films
physician|doctor
physicians|doctors
""".strip()

SPELLINGS = """
colour|color
colours|colors
favourite|favorite
flavour|flavor
neighbour|neighbor
neighbours|neighbors
honour|honor
labour|labor
behaviour|behavior
humour|humor
centre|center
theatre|theater
litre|liter
litres|liters
kilometre|kilometer
kilometres|kilometers
fibre|fiber
organise|organize
organisation|organization
organisations|organizations
realise|realize
recognise|recognize
apologise|apologize
analyse|analyze
optimise|optimize
grey|gray
travelling|traveling
traveller|traveler
cancelled|canceled
catalogue|catalog
defence|defense
offence|offense
jewellery|jewelry
aluminium|aluminum
ageing|aging
moustache|mustache
pyjamas|pajamas
skilful|skillful
""".strip()

SMALL_NUMBERS = dict(enumerate("two three four five six seven eight nine ten eleven twelve".split(), 2))

# A text without any of these is taken for another language.
FUNCTION_WORDS = frozenset(
    "the what how why which who where when does with my you your are and this that from can should would have has is it".split()
)
