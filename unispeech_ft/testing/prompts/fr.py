"""French prompts, written for this project: frames for each split, and the words that fill them."""

from unispeech_ft.testing.prompts.frames import PromptBook

_NAMES = """Agnès Benoît Camille Damien Élodie Fabrice Guillaume Hélène Inès Jérôme Léon Maëlle Noémie Olivier
Pauline Quentin Romain Sylvain Tiphaine Yannick Zoé Lucien Aurélie Jacques Brigitte Bruno Marguerite Gaël"""
_TOWNS = """Lyon Nantes Bordeaux Toulouse Grenoble Rouen Dijon Montpellier Strasbourg Lille Rennes Metz
Perpignan Limoges Quimper Besançon Bayonne Colmar Vannes Chartres Tours Verdun"""
_PLACES = """la_gare le_marché l'école la_montagne la_plage le_jardin la_cuisine l'église la_forêt le_musée la_rivière
le_village la_piscine l'hôpital la_bibliothèque le_château la_boulangerie le_quai le_champ la_vigne"""
_ANIMALS = """chat chien cheval mouton canard cochon lapin oiseau renard agneau lion singe hérisson poisson papillon
tigre écureuil âne cygne loup rossignol ragondin"""
_THINGS_M = """livre crayon couteau chapeau panier tableau vélo parapluie miroir coussin bijou tambour balai seau
fauteuil manteau peigne violon rideau verre"""
_THINGS_F = """table lampe chaise montre valise fenêtre clé cuillère bouteille jupe guitare brosse
couverture feuille ceinture poupée bague châtaigne charrue baignoire vigne"""
_FOODS = """du_pain du_fromage du_beurre du_riz du_poisson du_jambon du_miel de_la_soupe de_la_confiture de_la_salade
de_la_crème des_œufs des_cerises des_haricots des_oignons des_huîtres des_champignons des_noix du_raisin de_l'ail"""
_COLOURS = "rouge jaune rose orange beige mauve turquoise brune noire blanche verte grise bleue violette"
_QUALITIES = "magnifique étrange énorme solide rare utile fragile simple propre agréable superbe immense célèbre calme"
_JOBS = """médecin boulanger pêcheur peintre juge jardinier facteur berger pharmacien chanteur vigneron
cuisinier menuisier maçon plombier guide"""
_RELATIVES = """ma_mère mon_père ma_sœur mon_frère ma_tante mon_oncle ma_voisine mon_cousin ma_grand-mère mon_neveu
ma_nièce mon_parrain"""
_VERBS = """chante dort travaille voyage danse rit pleure cuisine dessine rêve nage court lit marche
jardine bavarde réfléchit s'ennuie"""
_ADVERBS = """doucement souvent rarement aujourd'hui demain parfois longtemps vite ici ailleurs bruyamment
joyeusement tranquillement trop"""
_WEATHER = "beau froid chaud gris doux humide frais lourd"
_DAYS = "lundi mardi mercredi jeudi vendredi samedi dimanche"
_MONTHS = "janvier février mars avril mai juin juillet août septembre octobre novembre décembre"
_COUNTS = "deux trois quatre cinq six sept huit neuf dix onze douze treize quinze seize vingt trente cent"

BOOK = PromptBook(
    language="fr",
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
        "name": "Adrien Clémence Étienne Solène Ulysse Vincent",
        "thing": "bouquet cahier gobelet tonneau",
        "animal": "hibou crapaud sanglier chameau",
    },
    test_words={
        "name": "Thibault Mireille Augustin Joséphine Ghislain",
        "thing": "chandelier briquet soufflet marteau",
        "animal": "blaireau moineau pigeon bœuf",
    },
    train_frames=(
        "{name} {verb} {adverb}.",
        "Le {job} habite à {town} depuis {count} ans.",
        "J'ai vu un {animal} près de {place}.",
        "{name} achète {food} et {food}.",
        "La {object} {colour} appartient à {relative}.",
        "Il est {hour} heures, {name} {verb} déjà.",
        "Ce {thing} coûte {number} euros.",
        "Nous partons pour {town} {day} matin.",
        "En {month}, il fait {weather} à {town}.",
        "Combien coûte cette {object} {quality} ?",
        "{relative} mange {food} tous les {day}s.",
        "Un {animal} et un {animal} traversent {place}.",
        "Voulez-vous encore {food} ?",
        "Je suis né le {count} {month} {year}.",
        "{name} et {name} cherchent un {thing} {quality}.",
        "Le {job} a perdu son {thing} dans le train de {town}.",
        "Quel {animal} {quality} !",
        "Mon {thing} se trouve sous la {object}.",
        "Le numéro {number} est gagnant.",
        "Demain, {relative} ira chez le {job}.",
        "Prends la {object} {colour}, s'il te plaît.",
        "Est-ce que {name} aime {food} ?",
        "Derrière {place}, un {animal} {verb}.",
        "Il y a {count} bouteilles et {count} verres.",
        "{count}, {count}, {count}, {count}.",
        "Un bon {job} ne {verb} jamais {adverb}.",
        "Chaque {day}, le {job} ouvre à {hour} heures.",
        "{name} montre {place} à {relative}.",
        "Il faut {number} jours pour peindre {place}.",
        "Je préfère {town} à {town}, dit {name}.",
        "Quand il fait {weather}, {relative} {verb} {adverb}.",
    ),
    dev_frames=(
        "Où est le {thing} de {relative} ?",
        "{name} a trouvé un {animal} à {town}.",
        "La route de {town} passe par {place}.",
        "Le {day} {count} {month}, il faisait {weather}.",
        "On vend {food} à {number} francs le kilo.",
        "Mon voisin est un {job} {quality}.",
        "Regarde, la {object} est {colour} !",
        "Depuis {year}, {name} {verb} moins.",
    ),
    test_frames=(
        "Pourquoi est-ce que {name} {verb} {adverb} ?",
        "Autrefois, {place} était {quality}.",
        "Il manque {food} pour le repas de {day}.",
        "Le train pour {town} arrive à {hour} heures {number}.",
        "{relative} raconte l'histoire d'un {animal} {quality}.",
        "Donnez-moi {count} kilos de cerises et une {object}.",
        "Depuis hier, le {job} cherche une {object} {colour}.",
        "Entre {town} et {town}, il pleut souvent en {month}.",
        "Cet hiver, {name} vendra son {thing} au {job}.",
        "Le vieux {thing} valait {number} pièces en {year}.",
        "Bonjour, avez-vous vu mon {animal} ?",
        "Personne ne {verb} quand il fait {weather}.",
        "Chez {relative}, on boit rarement avant {hour} heures.",
        "Si tu vas vers {place}, emporte ton {thing}.",
    ),
)
