"""The words that the rules of counterfactuals exchange: short lists, written by hand, each as safe as a list can be.

Left out on purpose: words with a second meaning (Will, May, Turkey, Apple), and synonyms that only some contexts allow.
"""

# A line: the forms of one word | the same forms of its opposite. Each pair is in the table of `judging.opposites` too.
OPPOSITES = """
buy buys buying bought | sell sells selling sold
lend lends lending lent | borrow borrows borrowing borrowed
win wins winning won | lose loses losing lost
send sends sending sent | receive receives receiving received
arrive arrives arriving arrived | depart departs departing departed
push pushes pushing pushed | pull pulls pulling pulled
accept accepts accepting accepted | reject rejects rejecting rejected
allow allows allowing allowed | forbid forbids forbidding forbidden
increase increases increasing increased | decrease decreases decreasing decreased
add adds adding added | remove removes removing removed
upload uploads uploading uploaded | download downloads downloading downloaded
upgrade upgrades upgrading upgraded | downgrade downgrades downgrading downgraded
encrypt encrypts encrypting encrypted | decrypt decrypts decrypting decrypted
hide hides hiding hidden | show shows showing shown
deposit deposits depositing deposited | withdraw withdraws withdrawing withdrawn
attack attacks attacking attacked | defend defends defending defended
gain gains gaining gained | lose loses losing lost
improve improves improving improved | worsen worsens worsening worsened
advantage advantages | disadvantage disadvantages
cheap cheapest | expensive costly
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
    ["second", "minute", "hour", "day", "week", "month", "year"],
    ["seconds", "minutes", "hours", "days", "weeks", "months", "years"],
    ["centimetres", "metres", "kilometres"],
    ["centimeters", "meters", "kilometers"],
    ["inches", "feet", "yards", "miles"],
    ["mm", "cm", "km"],
    ["milligrams", "grams", "kilograms"],
    ["mg", "g", "kg"],
    ["kg", "lbs"],
    ["KB", "MB", "GB", "TB"],
    ["millilitres", "litres", "gallons"],
    ["watts", "kilowatts", "megawatts"],
    ["km", "miles"],
    ["kHz", "MHz", "GHz"],
)

WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
# Without March and May, which are words as well.
MONTHS = ["January", "February", "April", "June", "July", "August", "September", "October", "November", "December"]

NAMES = (
    [
        "James",
        "John",
        "Robert",
        "Michael",
        "David",
        "Thomas",
        "Daniel",
        "Paul",
        "Peter",
        "Kevin",
        "Brian",
        "Steven",
        "Eric",
        "Oliver",
        "Rahul",
        "Amit",
        "Rohan",
    ],
    [
        "Mary",
        "Linda",
        "Susan",
        "Sarah",
        "Karen",
        "Nancy",
        "Laura",
        "Emily",
        "Anna",
        "Julia",
        "Maria",
        "Alice",
        "Helen",
        "Priya",
        "Pooja",
        "Anita",
    ],
)

PLACES = (
    [
        "Paris",
        "London",
        "Madrid",
        "Rome",
        "Berlin",
        "Vienna",
        "Lisbon",
        "Athens",
        "Moscow",
        "Tokyo",
        "Beijing",
        "Bangkok",
        "Cairo",
        "Nairobi",
        "Oslo",
    ],
    [
        "Chicago",
        "Boston",
        "Seattle",
        "Houston",
        "Dallas",
        "Denver",
        "Atlanta",
        "Philadelphia",
        "Miami",
        "San Francisco",
        "Los Angeles",
    ],
    ["Mumbai", "Bangalore", "Chennai", "Kolkata", "Hyderabad", "Pune", "Jaipur", "Ahmedabad"],
    ["Melbourne", "Sydney", "Brisbane", "Perth", "Adelaide"],
    ["Toronto", "Vancouver", "Montreal", "Calgary", "Ottawa"],
    ["Munich", "Hamburg", "Cologne", "Frankfurt", "Stuttgart"],
    [
        "Germany",
        "France",
        "Italy",
        "Spain",
        "Poland",
        "Sweden",
        "Norway",
        "Portugal",
        "Greece",
        "Austria",
        "Denmark",
        "Finland",
        "Switzerland",
    ],
    [
        "India",
        "China",
        "Japan",
        "Pakistan",
        "Bangladesh",
        "Nepal",
        "Vietnam",
        "Thailand",
        "Indonesia",
        "Malaysia",
        "Sri Lanka",
    ],
    ["Canada", "Australia", "Mexico", "Brazil", "Argentina"],
    ["Egypt", "Nigeria", "Kenya", "Ethiopia", "Ghana", "Uganda"],
    ["California", "Texas", "Florida", "Ohio", "Arizona", "Oregon", "Nevada"],
)

# Of one class each, so that a sentence about one can be said of another.
PRODUCTS = (
    ["Chrome", "Firefox", "Safari"],
    ["Facebook", "Twitter", "Instagram", "LinkedIn", "Snapchat", "Pinterest"],
    ["WhatsApp", "Telegram", "Viber"],
    ["Gmail", "Outlook"],
    ["Python", "Java", "JavaScript", "Ruby", "PHP", "Kotlin"],
    ["Windows", "Linux", "macOS", "Ubuntu"],
    ["iPhone", "iPad"],
    ["MySQL", "PostgreSQL", "MongoDB", "SQLite"],
    ["Netflix", "Hulu", "Spotify"],
    ["Photoshop", "Illustrator", "GIMP"],
    ["PayPal", "Stripe", "Venmo"],
    ["Samsung", "Sony", "Nokia", "Motorola", "Huawei"],
    ["Toyota", "Honda", "Nissan", "Volkswagen", "Hyundai"],
    ["Uber", "Lyft"],
    ["Excel", "PowerPoint"],
)

VERSIONS = {
    "windows": ["7", "8", "10", "11"],
    "ios": ["10", "11", "12", "15", "16", "17"],
    "android": ["7", "8", "9", "10", "12", "13"],
    "python": ["2.7", "3.6", "3.8", "3.9", "3.11", "2", "3"],
    "java": ["7", "8", "11", "17", "21"],
    "php": ["5", "7", "8"],
    "angular": ["2", "4", "8", "12"],
    "iphone": ["5", "6", "7", "8", "11", "12", "13"],
    "ubuntu": ["14.04", "16.04", "18.04", "20.04", "22.04"],
    "bootstrap": ["3", "4", "5"],
}

# Interchangeable nearly everywhere.
SYNONYMS = """
someone|somebody
anyone|anybody
everyone|everybody
nearly|almost
maybe|perhaps
largest|biggest
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
bicycle|bike
bicycles|bikes
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

SMALL_NUMBERS = dict(
    enumerate(["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"], 2)
)

# A text without any of these is taken for another language.
FUNCTION_WORDS = frozenset(
    [
        "the",
        "what",
        "how",
        "why",
        "which",
        "who",
        "where",
        "when",
        "does",
        "with",
        "my",
        "you",
        "your",
        "are",
        "and",
        "this",
        "that",
        "from",
        "can",
        "should",
        "would",
        "have",
        "has",
        "is",
        "it",
    ]
)
