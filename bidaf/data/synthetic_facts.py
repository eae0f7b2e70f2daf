"""The made-up world of `synthetic`: names, relations, ways to say and ask.

In templates `{s}` is the subject and `{v}` the value. They begin in lower
case; whoever uses them writes the first letter large.
"""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Relation:
    """What can be said about a subject.

    Attributes:
      kind: of the values, a key of `VALUES` or `person`, `town`, `year`,
        `dollars`, `metres`, `people`, `day`.
      statements: sentences that say it, without the period.
      ask_value: questions whose answer is the value.
      ask_subject: questions whose answer is the subject.
    """

    kind: str
    statements: tuple[str, ...]
    ask_value: tuple[str, ...]
    ask_subject: tuple[str, ...]


FIRST_NAMES = (
    "Anna Bruno Clara Dario Elena Felix Greta Hugo Irma Jonas Karin Lukas "
    "Maria Niels Olga Peter Quentin Rosa Stefan Tilda Ulrich Vera Walter "
    "Xenia Yusuf Zoe Adele Boris Cesar Dora Emil Frida Gustav Hanna Ivan "
    "Judit Klaus Lucie Marek Nora"
).split()
SURNAMES = (
    "Adler Brandt Castel Drake Eklund Fabian Gruber Halvor Ivers Jansen "
    "Kovar Lindner Moreau Novak Olsen Petrov Quist Rossi Sandor Tanaka "
    "Unger Varga Weiss Ximenes Ytterberg Zeller Aldous Birk Conti Dvorak "
    "Elmer Farkas Gamba Holub Ibsen Jurado Keller Lorca Mertens Nagy Orban "
    "Pavel Radek Silva Toth Urban Vogel Winter Yilmaz Zorn Ahlgren Bosch "
    "Cerny Dahl Ebner Falk Gerber Hoffer Illes Kranz"
).split()
TOWNS = (
    "Graydale Lakeford Southmoor Praguehaven Estwick Norbury Ashcombe "
    "Birchfield Coldwater Dunmore Eastgate Foxhill Glenrock Hartwell "
    "Ironbridge Juniper Kingsley Longmeadow Millbrook Newhaven Oakridge "
    "Pinecrest Quarryside Redcliff Stonewall Thornton Underhill Valemont "
    "Westbrook Yarrow Ambleside Brightsea Cloverton Driftwood Elmstead "
    "Fairhaven"
).split()
TOWN_BEGINNINGS = ("", "", "", "New ", "Upper ", "Port ")
MONTHS = (
    "January February March April May June July August September "
    "October November December"
).split()

VALUES: dict[str, tuple[str, ...]] = {
    "job": tuple(
        "baker,carpenter,doctor,farmer,gardener,judge,lawyer,mason,nurse,"
        "painter,printer,sailor,shepherd,singer,smith,surveyor,tailor,"
        "teacher,watchmaker,ship captain,railway clerk,piano tuner,"
        "school master,bridge builder".split(",")
    ),
    "reason": tuple(
        "the cold winters,a bitter quarrel,the failed harvest,a lost bet,"
        "poor health,the high taxes,a broken engagement,the long war,an "
        "unpaid debt,the great fire,a shortage of work,the noisy factory,"
        "religious doubts,the spring flood,a stolen horse,an old promise".split(
            ","
        )
    ),
    "product": tuple(
        "glass bottles,leather shoes,steam engines,wool blankets,copper "
        "wire,paper bags,pocket watches,iron stoves,sewing machines,fishing "
        "boats,roof tiles,church bells,rubber tires,silk scarves,garden "
        "tools,brass lamps".split(",")
    ),
}


def _named(pattern: str, firsts: str, seconds: str) -> tuple[str, ...]:
    """All pairs of names, the second one's changing last."""
    return tuple(
        pattern.format(first, second)
        for second in seconds.split()
        for first in firsts.split()
    )


BUILDINGS = _named(
    "the {} {}",
    "Old Royal Iron Harbour Swan Lantern Crown Linden",
    "Bridge Mill Tower Theatre Library Station Museum Chapel",
)
COMPANIES = _named(
    "{} {}",
    "Northgate Silverfox Bluestone Eagleton Harrowby Lionsgate Merriton "
    "Tidewater",
    "Works Press Brothers Trading Foundry Mills",
)
EVENTS = _named(
    "the {} {}",
    "Apple Moonlight Midsummer Copper Harvest Kite Northern Accordion",
    "Festival Regatta Fair Parade Congress Tournament",
)


def _relations(text: str) -> dict[str, Relation]:
    """Relations by name, each a paragraph of the text.

    Its name and kind, then its statements and questions, | between them.
    """
    found = {}
    for paragraph in text.strip().split("\n\n"):
        head, *rest = re.split(r"\n(?:says|value|subject) ", paragraph)
        name, kind = head.split(": ")
        texts = (
            tuple(" ".join(each.split()) for each in part.split("|"))
            for part in rest
        )
        found[name] = Relation(kind, *texts)
    return found


PEOPLE_RELATIONS = _relations("""
birth place: town
says    {s} was born in {v} | {v} is the birthplace of {s}
        | {s} is a native of {v}
value   where was {s} born? | what town does {s} come from?
        | which town is the birthplace of {s}?
subject who was born in {v}? | who comes from {v}? | whose birthplace is {v}?

home: town
says    {s} settled in {v} | the home of {s} was in {v}
        | {s} lived for many years in {v}
value   where did {s} live? | in which town did {s} settle?
        | where was the house of {s}?
subject who lived in {v}? | who settled in {v}? | who had a house in {v}?

birth year: year
says    {s} was born in {v} | the birth of {s} was in {v}
        | {s} came into the world in {v}
value   when was {s} born? | what is the birth year of {s}?
        | in which year did the life of {s} begin?
subject who was born in {v}? | who came into the world in {v}?
        | whose life began in {v}?

death year: year
says    {s} died in {v} | {s} passed away in {v}
        | the death of {s} came in {v}
value   when did {s} die? | in which year did the life of {s} end?
        | what was the year of the death of {s}?
subject who died in {v}? | whose death came in {v}? | whose life ended in {v}?

job: job
says    {s} worked as a {v} | {s} earned money as a {v}
        | {s} was a {v} by trade
value   what did {s} do for a living? | what was the occupation of {s}?
        | which profession did {s} have?
subject who worked as a {v}? | who was a {v}?
        | whose occupation was that of a {v}?

spouse: person
says    {s} married {v} | {s} had a wedding with {v}
        | the wedding of {s} was with {v}
value   who was the spouse of {s}? | whom did {s} marry?
        | with whom did {s} share a marriage?
subject who was the spouse of {v}? | who married {v}?

teacher: person
says    {s} learned from {v} | {s} was a pupil of {v}
        | {s} took lessons from {v}
value   who was the teacher of {s}? | who taught {s}?
        | whose lessons did {s} take?
subject who was a student of {v}? | whom did {v} teach?

reason: reason
says    {s} went abroad because of {v} | {v} drove {s} abroad
        | {s} left the country due to {v}
value   why did {s} leave the country? | why did {s} go abroad?
        | what was the reason that {s} emigrated?
subject who went abroad because of {v}? | whom did {v} drive away?
        | who emigrated due to {v}?
""")
BUILDING_RELATIONS = _relations("""
architect: person
says    {s} was designed by {v} | {v} drew the plans of {s}
        | {s} is a work of {v}
value   who was the architect of {s}? | who designed {s}?
        | whose plans was {s} built after?
subject what did {v} design? | which building is a work of {v}?
        | what was {v} the architect of?

owner: person
says    {s} belonged to {v} | {v} bought {s} | {s} was the property of {v}
value   who was the owner of {s}? | who owned {s}? | to whom did {s} belong?
subject what did {v} own? | which building belonged to {v}?
        | what was {v} the owner of?

opened: year
says    {s} was opened in {v} | the doors of {s} opened in {v}
        | {s} was finished in {v}
value   when was {s} opened? | in which year was {s} completed?
        | when was {s} ready for visitors?
subject what was opened in {v}? | which building was completed in {v}?

burned: year
says    {s} burned down in {v} | a fire destroyed {s} in {v}
        | {s} went up in flames in {v}
value   when did {s} burn? | in which year was {s} lost to a fire?
        | when was {s} destroyed?
subject what burned down in {v}? | which building was destroyed in {v}?

cost: dollars
says    {s} cost {v} | the price of {s} was {v} | {v} were paid for {s}
value   how much did {s} cost? | what was the price of {s}?
        | how expensive was {s}?
subject what cost {v}? | for which building were {v} spent?

height: metres
says    {s} is {v} high | {s} has a height of {v}
        | {s} rises to {v} over the street
value   how tall is {s}? | what is the height of {s}? | how high is {s}?
subject what is {v} tall? | which building has a height of {v}?
""")
COMPANY_RELATIONS = _relations("""
founder: person
says    {s} was founded by {v} | {v} set up {s} | {s} was started by {v}
value   who was the founder of {s}? | who established {s}?
        | by whom was {s} founded?
subject what did {v} establish? | which company was founded by {v}?

director: person
says    {s} was led by {v} | {v} was at the head of {s} | {v} managed {s}
value   who was the director of {s}? | who ran {s}?
        | who was in charge of {s}?
subject what did {v} run? | which company was led by {v}?
        | what was {v} in charge of?

founded: year
says    {s} was founded in {v} | {s} began business in {v}
        | {s} started out in {v}
value   when was {s} founded? | in which year was {s} established?
        | when did {s} begin?
subject what was established in {v}? | which company began business in {v}?

closed: year
says    {s} closed in {v} | {s} went out of business in {v}
        | {s} was bankrupt in {v}
value   when did {s} close? | in which year did {s} shut down?
        | when did {s} end?
subject what closed in {v}? | which company shut down in {v}?

product: product
says    {s} made {v} | {s} produced {v} | {s} was known for {v}
value   what did {s} manufacture? | what was the product of {s}?
        | what goods came from {s}?
subject who produced {v}? | which company manufactured {v}?
        | whose product were {v}?

seat: town
says    {s} had its office in {v} | {s} was based in {v}
        | the seat of {s} was {v}
value   where was {s} located? | in which town was the office of {s}?
        | where was the headquarters of {s}?
subject what was located in {v}? | which company had its headquarters in {v}?
""")
EVENT_RELATIONS = _relations("""
day: day
says    {s} takes place on {v} | {s} is held on {v} | {s} begins on {v}
value   when does {s} start? | on what day is {s}?
        | on which date does {s} happen?
subject what takes place on {v}? | which event starts on {v}?

town: town
says    {s} is held in {v} | {v} is the host of {s} | {s} takes place in {v}
value   where is {s}? | in which town does {s} happen?
        | what town invites guests to {s}?
subject what takes place in {v}? | which event is held in {v}?

visitors: people
says    {v} come to {s} | {s} draws {v} | {s} was visited by {v}
value   how many guests does {s} have? | how many come to {s}?
        | how large is the crowd at {s}?
subject what is visited by {v}? | which event draws {v}?

first held: year
says    {s} was first held in {v} | {s} goes back to {v}
        | {s} has been known since {v}
value   since when has {s} existed? | when did {s} begin?
        | in which year was {s} first celebrated?
subject what was first celebrated in {v}? | which event goes back to {v}?

guest: person
says    {v} spoke at {s} | {s} was opened by {v}
        | the speech at {s} was given by {v}
value   who spoke at {s}? | who opened {s}?
        | who was the guest of honour of {s}?
subject where did {v} speak? | which event was opened by {v}?

organizer: person
says    {s} was planned by {v} | {v} organized {s} | {v} prepared {s}
value   who was the organizer of {s}? | who organized {s}? | who arranged {s}?
subject what did {v} organize? | which event was arranged by {v}?
""")
# The year of an earlier relation comes before that of a later one.
THEMES = {
    "People": ("person", PEOPLE_RELATIONS),
    "Buildings": ("building", BUILDING_RELATIONS),
    "Companies": ("company", COMPANY_RELATIONS),
    "Events": ("event", EVENT_RELATIONS),
}
STATEMENT_OPENINGS = (
    *[""] * 5,
    "as far as we know, ",
    "according to the records, ",
    "it is written that ",
    "some books say that ",
)
QUESTION_OPENINGS = (*[""] * 5, "according to the text, ")
