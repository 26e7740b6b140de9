"""Italian prompts, written for this project: frames for each split, and the words that fill them."""

from unispeech_ft.testing.prompts.frames import PromptBook

_NAMES = """Alessia Bruno Chiara Davide Elisa Fabio Giulia Ignazio Luca Marta Nicola Ottavia Paolo Quirino Rosa
Sandro Tiziana Ugo Vittoria Zeno Gennaro Beatrice Michele Camilla Guglielmo Agnese Raffaele Cecilia"""
_TOWNS = """Torino Bologna Firenze Genova Palermo Verona Perugia Cagliari Lecce Trieste Pisa Ferrara Foggia Ancona
Brescia Salerno Modena Pescara Reggio Siena Vicenza Catanzaro"""
_PLACES = """la_piazza il_mercato la_scuola il_fiume la_spiaggia il_giardino la_cucina la_chiesa il_bosco il_museo
la_montagna il_paese la_piscina l'ospedale la_biblioteca il_castello la_bottega il_molo l'orto la_vigna il_ponte"""
_ANIMALS = """gatto cane cavallo maiale coniglio leone lupo cinghiale gallo topo orso toro cervo pesce gufo cigno
riccio pollo tacchino pappagallo rospo falco"""
_THINGS_M = """libro coltello cappello cestino quadro martello cuscino tamburo secchio divano cappotto pettine
violino bicchiere vaso fazzoletto guanto tappeto razzo cucchiaio zaino tavolo foglio giocattolo"""
_THINGS_F = """lampada sedia valigia finestra chiave bottiglia gonna chitarra scala brocca coperta bambola scatola
sciarpa tazza bicicletta maglia scarpa borsa gabbia zappa mazza conchiglia pentola maniglia"""
_FOODS = """pane formaggio riso pesce prosciutto miele zuppa insalata uova ciliegie fagioli cipolle funghi noci uva
aglio cioccolato latte zucchine olive lasagne gnocchi burro zenzero tè caffè pizza acciughe"""
_COLOURS = "rossa gialla rosa arancione viola nera bianca verde grigia azzurra marrone scura"
_QUALITIES = """grande enorme curioso forte antico utile fragile semplice pulito gentile famoso raro allegro giovane
prezioso magnifico robusto freddo"""
_JOBS = """medico fornaio pescatore pittore giudice giardiniere postino pastore cantante cuoco falegname muratore
sarto calzolaio fabbro chimico barbiere maestro"""
_RELATIVES = """mia_madre mio_padre mia_sorella mio_fratello mia_zia mio_zio mia_cugina mio_cugino mia_nonna mio_nonno
mio_nipote mia_suocera mia_figlia mia_moglie"""
_VERBS = """canta dorme lavora viaggia balla ride piange aspetta cucina disegna sogna legge corre nuota cammina
scrive tace riflette gioca sbadiglia"""
_ADVERBS = "piano sempre spesso oggi domani molto poco qui laggiù allegramente in_fretta bene meglio ancora più_tardi"
_WEATHER = "freddo caldo fresco bello brutto"
_DAYS = "lunedì martedì mercoledì giovedì venerdì sabato"
_MONTHS = "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre"
_COUNTS = "due tre quattro cinque sei sette otto nove dieci undici dodici tredici quindici venti trenta cento"

BOOK = PromptBook(
    language="it",
    words={
        "name": _NAMES,
        "town": _TOWNS,
        "place": _PLACES,
        "animal": _ANIMALS,
        "thing": _THINGS_M,
        "object": _THINGS_F,
        "food": _FOODS,
        "colour": _COLOURS,
        "quality": _QUALITIES,
        "job": _JOBS,
        "relative": _RELATIVES,
        "verb": _VERBS,
        "adverb": _ADVERBS,
        "weather": _WEATHER,
        "day": _DAYS,
        "month": _MONTHS,
        "count": _COUNTS,
    },
    train_words={
        "name": "Adriano Clara Stefano Serena Ulisse Vincenzo",
        "thing": "quaderno barile mattone bastone",
        "animal": "cammello merlo piccione montone",
    },
    test_words={
        "name": "Domenico Giuseppina Agostino Rodolfo Mirella",
        "thing": "candelabro ventaglio rastrello cassetto",
        "animal": "tasso passero bue coccodrillo",
    },
    train_frames=(
        "{name} {verb} {adverb}.",
        "Il nostro {job} vive a {town} da {count} anni.",
        "Ho visto un {animal} vicino a {town}.",
        "{name} compra {food} e {food}.",
        "La {object} {colour} è di {relative}.",
        "Sono le {count}, e {name} {verb} {adverb}.",
        "Questo {thing} costa {number} euro.",
        "Questo {day} partiamo per {town}.",
        "A {month} fa {weather} a {town}.",
        "Quanto costa questa {object} {colour}?",
        "{relative} mangia {food} ogni {day}.",
        "Un {animal} e un {animal} attraversano {place}.",
        "Volete ancora {food}?",
        "Sono nato il {count} {month} {year}.",
        "{name} e {name} cercano un {thing} {quality}.",
        "Quel {job} ha perso il suo {thing} sul treno per {town}.",
        "Che {animal} {quality}!",
        "Il mio {thing} è sotto la {object}.",
        "È uscito il numero {number}.",
        "Domani {relative} parlerà con un {job}.",
        "Prendi la {object} {colour}, per favore.",
        "A {name} piace molto questo {thing}?",
        "Dietro la chiesa {verb} un {animal}.",
        "Ci sono {count} bottiglie e {count} bicchieri.",
        "{count}, {count}, {count}, {count}.",
        "Un bravo {job} non {verb} {adverb}.",
        "Ogni {day} il mercato apre alle {count}.",
        "{name} mostra {place} a {relative}.",
        "Ci vogliono {number} giorni per dipingere {place}.",
        "Preferisco {town} a {town}, disse {name}.",
        "Quando fa {weather}, {relative} {verb} {adverb}.",
        "Questo {animal} {quality} si chiama {name}.",
    ),
    dev_frames=(
        "Dov'è il {thing} di {relative}?",
        "{name} ha trovato un {animal} a {town}.",
        "La strada per {town} passa dietro la collina.",
        "Il {count} {month} faceva {weather}.",
        "Vendono {food} a {number} lire al chilo.",
        "Il mio vicino è un {job} {quality}.",
        "Guarda, la {object} è {colour}!",
        "Dal {year} {name} {verb} di meno.",
    ),
    test_frames=(
        "Perché {name} {verb} {adverb}?",
        "Una volta {place} sembrava lontano.",
        "Mancano {food} e {food} per la cena di {day}.",
        "Il pullman da {town} arriva fra {number} minuti.",
        "{relative} racconta la storia di un {animal} {quality}.",
        "Mi dia {count} chili di ciliegie e una {object}.",
        "Da ieri quel {job} cerca una {object} {colour}.",
        "Tra {town} e {town} piove molto a {month}.",
        "Quest'inverno {name} venderà un {thing} al mio {job}.",
        "Il vecchio {thing} valeva {number} monete nel {year}.",
        "Buongiorno, avete visto il mio {animal}?",
        "Nessuno {verb} se fa {weather}.",
        "Con {relative} non si beve prima delle {count}.",
        "Se vai verso {town}, porta con te il {thing}.",
    ),
)
