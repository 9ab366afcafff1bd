"""The words of the corpus: nouns with their counters, adjectives, verbs, numbers, time phrases.

Every Japanese entry is written "kanji/kana"; the romanisation is computed from the kana.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Noun:
    singular: str
    plural: str  # "" when the corpus never uses it
    japanese: str
    counter: str  # "" when the corpus never counts it
    kind: str

    @property
    def mass(self) -> bool:
        """True for bread and water: no "a", no plural, no number."""
        return self.kind in ("food", "drink")

    @property
    def animate(self) -> bool:
        """True when the noun takes いる (to be, alive) and not ある (to be, a thing)."""
        return self.kind in ("adult", "kid", "parent", "animal")


# English, plural, Japanese, counter, kind. "-" means none.
_NOUNS = """
man      -         男の人/おとこのひと    人 adult
woman    -         女の人/おんなのひと    人 adult
teacher  teachers  先生/せんせい        人 adult
doctor   -         医者/いしゃ         人 adult
friend   -         友達/ともだち        人 adult
student  students  学生/がくせい        人 adult
boy      boys      男の子/おとこのこ      人 kid
girl     girls     女の子/おんなのこ      人 kid
child    children  子ども/こども        人 kid
mother   -         お母さん/おかあさん     -  parent
father   -         お父さん/おとうさん     -  parent
dog      dogs      犬/いぬ   匹 animal
cat      cats      猫/ねこ   匹 animal
rabbit   rabbits   うさぎ     匹 animal
mouse    mice      ねずみ     匹 animal
monkey   monkeys   猿/さる   匹 animal
frog     frogs     かえる     匹 animal
fish     fish      魚/さかな  匹 animal
bird     birds     鳥/とり   羽 animal
duck     ducks     あひる     羽 animal
penguin  penguins  ペンギン    羽 animal
horse    horses    馬/うま   頭 animal
cow      cows      牛/うし   頭 animal
sheep    sheep     羊/ひつじ  頭 animal
bear     bears     熊/くま   頭 animal
elephant elephants 象/ぞう   頭 animal
apple    apples    りんご     個 fruit
orange   oranges   オレンジ    個 fruit
peach    peaches   桃/もも   個 fruit
banana   bananas   バナナ     本 fruit
carrot   carrots   にんじん    本 vegetable
onion    onions    玉ねぎ/たまねぎ 個 vegetable
potato   potatoes  じゃがいも   個 vegetable
tomato   tomatoes  トマト     個 vegetable
egg      eggs      卵/たまご  個 snack
cake     cakes     ケーキ     個 snack
bread    -         パン      -  food
rice     -         ご飯/ごはん -  food
grass    -         草/くさ   -  food
water    -         水/みず   -  drink
milk     -         牛乳/ぎゅうにゅう - drink
tea      -         お茶/おちゃ -  drink
coffee   -         コーヒー    -  drink
book      books     本/ほん      冊 thing
letter    letters   手紙/てがみ    通 thing
newspaper -         新聞/しんぶん   -  thing
picture   pictures  絵/え       枚 thing
pencil    pencils   鉛筆/えんぴつ   本 thing
flower    flowers   花/はな      本 thing
tree      -         木/き       本 thing
hat       hats      帽子/ぼうし    つ thing
bag       bags      かばん        つ thing
box       boxes     箱/はこ      つ thing
chair     chairs    椅子/いす     つ thing
table     -         テーブル       -  thing
piano     -         ピアノ        -  thing
car       cars      車/くるま     台 thing
bicycle   bicycles  自転車/じてんしゃ 台 thing
bus       -         バス         -  thing
train     -         電車/でんしゃ   -  thing
garden    -         庭/にわ      -  place
park      -         公園/こうえん   -  place
house     -         家/いえ      -  place
kitchen   -         台所/だいどころ  -  place
room      -         部屋/へや     -  place
school    -         学校/がっこう   -  place
library   -         図書館/としょかん -  place
station   -         駅/えき      -  place
shop      -         店/みせ      -  place
hospital  -         病院/びょういん  -  place
zoo       -         動物園/どうぶつえん - place
farm      -         農場/のうじょう  -  place
river     -         川/かわ      -  place
mountain  -         山/やま      -  place
town      -         町/まち      -  place
"""

NOUNS: dict[str, Noun] = {}
for _line in _NOUNS.strip().splitlines():
    _fields = ["" if text == "-" else text for text in _line.split()]
    NOUNS[_fields[0]] = Noun(*_fields)

# The speaker's own parents have plain names; other people's parents have respectful ones.
OWN_PARENT = {"mother": "母/はは", "father": "父/ちち"}

# Numbers, and the readings of number + counter: both halves change (一匹 ippiki, 三匹 sanbiki).
NUMBERS = {"one": "一", "two": "二", "three": "三", "four": "四", "five": "五", "six": "六", "ten": "十"}
COUNTER_READINGS = {
    "匹": "いっ ぴき,に ひき,さん びき,よん ひき,ご ひき,ろっ ぴき,じゅっ ぴき",  # small animals, fish, rabbits
    "羽": "いち わ,に わ,さん わ,よん わ,ご わ,ろく わ,じゅう わ",  # birds
    "頭": "いっ とう,に とう,さん とう,よん とう,ご とう,ろく とう,じゅっ とう",  # large animals
    "本": "いっ ぽん,に ほん,さん ぼん,よん ほん,ご ほん,ろっ ぽん,じゅっ ぽん",  # long things
    "冊": "いっ さつ,に さつ,さん さつ,よん さつ,ご さつ,ろく さつ,じゅっ さつ",  # books
    "枚": "いち まい,に まい,さん まい,よん まい,ご まい,ろく まい,じゅう まい",  # flat things
    "個": "いっ こ,に こ,さん こ,よん こ,ご こ,ろっ こ,じゅっ こ",  # fruit, eggs
    "台": "いち だい,に だい,さん だい,よん だい,ご だい,ろく だい,じゅう だい",  # cars, bicycles
    "通": "いっ つう,に つう,さん つう,よん つう,ご つう,ろく つう,じゅっ つう",  # letters
    "つ": "ひと つ,ふた つ,みっ つ,よっ つ,いつ つ,むっ つ",  # other things; ten would be 十 alone
    "人": "ひとり,ふたり,さん にん,よ にん,ご にん,ろく にん,じゅう にん",  # people; 一人, 二人 are one word
}

# い-adjectives are written as stem + い; な-adjectives end in な.
ADJECTIVES = {
    "big": "大き/おおき い",
    "small": "小さ/ちいさ い",
    "new": "新し/あたらし い",
    "old": "古/ふる い",
    "red": "赤/あか い",
    "white": "白/しろ い",
    "black": "黒/くろ い",
    "cute": "かわい い",
    "young": "若/わか い",
    "busy": "忙し/いそがし い",
    "expensive": "高/たか い",
    "cheap": "安/やす い",
    "delicious": "おいし い",
    "sweet": "甘/あま い",
    "cold": "冷た/つめた い",
    "heavy": "重/おも い",
    "interesting": "面白/おもしろ い",
    "beautiful": "きれい な",
    "quiet": "静か/しずか な",
    "famous": "有名/ゆうめい な",
    "kind": "親切/しんせつ な",
}


@dataclass(frozen=True)
class Verb:
    """A verb sense in both languages.

    `polite` is the stem before ます, `joined` the stem before た and て (だ and で when `voiced`),
    `plain` the dictionary form. `style` says how the predicate is built: "verb", or "na" and "i"
    for 好き and 欲しい. A `state` verb uses ている where English has a simple tense:
    "lasting" in the present and the past (住んでいます, 住んでいました), "present" only there (働いています).
    """

    english: tuple[str, str, str, str]  # base, third person, past, -ing
    polite: str
    joined: str
    voiced: bool
    plain: str
    aspects: tuple[str, ...]
    particle: str = "を"
    style: str = "verb"
    state: str = ""


# name | English forms | polite stem, stem of た (with た or だ), dictionary form | aspects | extras
# Aspects: h habitual present, p past, c continuous, w will, k can.
_VERBS = """
eat      | eat eats ate eating         | 食べ/たべ 食べ/たべ た 食べる/たべる      | hpcw
drink    | drink drinks drank drinking | 飲み/のみ 飲ん/のん だ 飲む/のむ       | hpcw
buy      | buy buys bought -           | 買い/かい 買っ/かっ た 買う/かう       | hpw
read     | read reads read reading     | 読み/よみ 読ん/よん だ 読む/よむ       | hpcwk
write    | write writes wrote writing  | 書き/かき 書い/かい た 書く/かく       | hpcw
see      | see - saw -                 | 見/み 見/み た 見る/みる           | pw
make     | make - made making      | 作り/つくり 作っ/つくっ た 作る/つくる   | pcwk
wash     | wash - washed washing  | 洗い/あらい 洗っ/あらっ た 洗う/あらう   | pcw
find     | find - found -              | 見つけ/みつけ 見つけ/みつけ た 見つける/みつける | p
carry    | carry - carried carrying    | 運び/はこび 運ん/はこん だ 運ぶ/はこぶ   | pcw
give     | give gives gave -           | あげ あげ た あげる              | hpw
show     | show - showed -             | 見せ/みせ 見せ/みせ た 見せる/みせる    | pw
meet     | meet - met -            | 会い/あい 会っ/あっ た 会う/あう       | pw | particle=に
ride     | ride - rode riding      | 乗り/のり 乗っ/のっ た 乗る/のる       | pwk | particle=に
go       | go goes went -              | 行き/いき 行っ/いっ た 行く/いく       | hpw
come     | come - came -           | 来/き 来/き た 来る/くる           | p
sleep    | sleep sleeps slept sleeping | 寝/ね 寝/ね た 寝る/ねる           | hpc
run      | run runs ran running        | 走り/はしり 走っ/はしっ た 走る/はしる   | hpcw
swim     | swim swims swam swimming    | 泳ぎ/およぎ 泳い/およい だ 泳ぐ/およぐ   | hpcwk
walk     | walk walks walked walking   | 歩き/あるき 歩い/あるい た 歩く/あるく   | hpcw
play     | play plays played playing   | 遊び/あそび 遊ん/あそん だ 遊ぶ/あそぶ   | hpcw
sing     | sing sings sang singing     | 歌い/うたい 歌っ/うたっ た 歌う/うたう   | hpcw
work     | work works worked working   | 働き/はたらき 働い/はたらい た 働く/はたらく | hpcw | state=present
live     | live lives lived -          | 住み/すみ 住ん/すん だ 住む/すむ       | hp | state=lasting
play_piano | play plays played playing | 弾き/ひき 弾い/ひい た 弾く/ひく       | hpcwk
sing_bird | sing sings sang singing    | 鳴き/なき 鳴い/ない た 鳴く/なく       | hpc
have_pet | have has had -              | 飼い/かい 飼っ/かっ た 飼う/かう       | hp | state=lasting
have     | have has had -              | 持ち/もち 持っ/もっ た 持つ/もつ       | hp | state=lasting
like     | like likes - -              | 好き/すき - た -                  | h | particle=が style=na
want     | want - - -                  | 欲し/ほし - た -                  | h | particle=が style=i
"""
_ASPECT_NAMES = {"h": "habit", "p": "past", "c": "continuous", "w": "will", "k": "can"}


def _read_verb(line: str) -> tuple[str, Verb]:
    name, english, japanese, aspects, *extras = (part.strip() for part in line.split("|"))
    polite, joined, ending, plain = japanese.split()
    options = dict(extra.split("=") for extra in "".join(extras).split())
    return name, Verb(
        tuple(english.split()),
        polite,
        joined,
        ending == "だ",
        plain,
        tuple(_ASPECT_NAMES[a] for a in aspects),
        **options,
    )


VERBS: dict[str, Verb] = dict(_read_verb(line) for line in _VERBS.strip().splitlines())

# English, Japanese. Every English word of the phrase is aligned to the one Japanese word.
TIMES = {
    "habit": {"every morning": "毎朝/まいあさ", "every day": "毎日/まいにち"},
    "past": {"yesterday": "昨日/きのう", "last week": "先週/せんしゅう", "this morning": "今朝/けさ"},
    "will": {"tomorrow": "明日/あした", "next week": "来週/らいしゅう"},
}

# Subject form, possessive, Japanese, person, plural. "you" is dropped in Japanese (see clauses.py).
PRONOUNS = {
    "i": ("my", "私/わたし", 1, False),
    "we": ("our", "私たち/わたしたち", 1, True),
    "he": ("his", "彼/かれ", 3, False),
    "she": ("her", "彼女/かのじょ", 3, False),
    "they": ("", "彼ら/かれら", 3, True),
}


def _kinds(*kinds: str) -> list[str]:
    """The nouns of these kinds."""
    return [name for name, noun in NOUNS.items() if noun.kind in kinds]


ANIMALS = _kinds("animal")
PRODUCE = _kinds("fruit", "vegetable")
GROWN_UPS, KIDS, PARENTS = _kinds("adult"), _kinds("kid"), _kinds("parent")
GENERIC_PEOPLE = ["student", "teacher", "child", "boy", "girl"]  # people spoken of in the plural as a group
