"""Spanish prompts, written for this project: frames for each split, and the words that fill them."""

from unispeech_ft.testing.prompts.frames import PromptBook

_NAMES = """Ana Beatriz Carlos Dolores Ernesto Felipe Gonzalo Héctor Íñigo Joaquín Lucía Marcela Nuria Óscar Paula
Ramón Sofía Tomás Úrsula Vicente Ximena Yolanda Zacarías Begoña Guillermo Raquel Jimena Enrique"""
_TOWNS = """Sevilla Zaragoza Valencia Burgos Cádiz Murcia Oviedo Logroño Badajoz Jaén Huelva Segovia Ávila Girona
Lugo Toledo Cuenca Málaga Pamplona Guadalajara Cáceres Huesca"""
_PLACES = """la_plaza el_mercado la_escuela el_río la_playa el_jardín la_cocina la_iglesia el_bosque el_museo la_montaña
el_pueblo la_piscina el_hospital la_biblioteca el_castillo la_panadería el_muelle el_huerto la_viña el_rancho"""
_ANIMALS = """gato perro caballo pato cerdo conejo pájaro zorro cordero león mono erizo pez búho tigre burro cisne lobo
jabalí gallo ratón oso toro ciervo"""
_THINGS_M = """libro lápiz cuchillo sombrero cesto cuadro paraguas espejo cojín anillo tambor cubo sillón abrigo
peine violín vaso reloj jarrón pañuelo zapato guante"""
_THINGS_F = """mesa lámpara silla maleta ventana llave cuchara botella falda guitarra escalera jarra manta hoja
muñeca caja carretera cebolla gorra yegua boina bufanda taza aguja bicicleta"""
_FOODS = """pan queso arroz pescado jamón miel sopa ensalada huevos cerezas judías cebollas setas nueces uvas ajo
chocolate zumo lechuga soja paella garbanzos aceitunas yogur chorizo leche aceite"""
_COLOURS = "roja amarilla rosa naranja morada negra blanca verde gris azul violeta parda"
_QUALITIES = "grande enorme extraño fuerte antiguo útil frágil sencillo limpio amable inmenso famoso raro alegre joven"
_JOBS = """médico panadero pescador pintor juez jardinero cartero pastor cantante relojero cocinero carpintero
ingeniero albañil escritor guía zapatero herrero químico abogado"""
_RELATIVES = """mi_madre mi_padre mi_hermana mi_hermano mi_tía mi_tío mi_vecina mi_primo mi_abuela mi_abuelo mi_sobrino
mi_cuñado mi_hija mi_suegra"""
_VERBS = """canta duerme trabaja viaja baila ríe llora espera cocina dibuja sueña duda nada corre lee camina charla
reflexiona calla escribe"""
_ADVERBS = (
    "despacio siempre nunca hoy mañana mucho poco hoy_mismo aquí allí alegremente deprisa a_veces bien mejor todavía"
)
_WEATHER = "frío calor viento sol fresco buen_tiempo mal_tiempo"
_DAYS = "lunes martes miércoles jueves viernes sábado domingo"
_MONTHS = "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"
_COUNTS = "dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince veinte treinta cien"

BOOK = PromptBook(
    language="es",
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
        "name": "Adrián Clara Esteban Soledad Ulises Víctor",
        "thing": "ramo cuaderno barril ladrillo",
        "animal": "camello sapo halcón mosquito",
    },
    test_words={
        "name": "Mercedes Agustín Josefina Rodrigo Chelo",
        "thing": "candelabro abanico martillo cajón",
        "animal": "tejón gorrión buey escarabajo",
    },
    train_frames=(
        "{name} {verb} {adverb}.",
        "El {job} vive en {town} desde hace {count} años.",
        "He visto un {animal} cerca de {place}.",
        "{name} compra {food} y {food}.",
        "La {object} {colour} es de {relative}.",
        "Son las {count}, y {name} {verb} {adverb}.",
        "Este {thing} cuesta {number} euros.",
        "El {day} salimos para {town}.",
        "En {month} hace {weather} en {town}.",
        "¿Cuánto vale esta {object} {colour}?",
        "{relative} come {food} los {day}.",
        "Un {animal} y un {animal} cruzan {place}.",
        "¿Quiere usted más {food}?",
        "Nací el {count} de {month} de {year}.",
        "{name} y {name} buscan un {thing} {quality}.",
        "El {job} perdió su {thing} en el tren de {town}.",
        "¡Qué {animal} tan {quality}!",
        "Mi {thing} está debajo de la {object}.",
        "Ha salido el número {number}.",
        "Mañana {relative} irá a casa del {job}.",
        "Coge la {object} {colour}, por favor.",
        "¿A {name} le gusta el {thing}?",
        "Detrás de {place} {verb} un {animal}.",
        "Hay {count} botellas y {count} vasos.",
        "{count}, {count}, {count}, {count}.",
        "Un buen {job} no {verb} {adverb}.",
        "Cada {day} el {job} abre a las {count}.",
        "{name} enseña {place} a {relative}.",
        "Hacen falta {number} días para pintar {place}.",
        "Prefiero {town} a {town}, dijo {name}.",
        "Cuando hace {weather}, {relative} {verb} {adverb}.",
        "El {animal} {quality} se llama {name}.",
    ),
    dev_frames=(
        "¿Dónde está el {thing} de {relative}?",
        "{name} encontró un {animal} en {town}.",
        "El camino de {town} pasa por {place}.",
        "El {day} {count} de {month} hizo {weather}.",
        "Se vende {food} a {number} pesetas el kilo.",
        "Mi vecino es un {job} {quality}.",
        "¡Mira, la {object} es {colour}!",
        "Desde {year}, {name} {verb} menos.",
    ),
    test_frames=(
        "¿Por qué {name} {verb} {adverb}?",
        "Antiguamente {place} era muy {quality}.",
        "Falta {food} para la cena del {day}.",
        "El autobús de {town} llega dentro de {number} minutos.",
        "{relative} cuenta la historia del {animal} {quality}.",
        "Deme {count} kilos de cerezas y una {object}.",
        "Desde ayer el {job} busca una {object} {colour}.",
        "Entre {town} y {town} llueve mucho en {month}.",
        "Este invierno {name} venderá su {thing} al {job}.",
        "El viejo {thing} valía {number} monedas en {year}.",
        "Buenos días, ¿han visto ustedes mi {animal}?",
        "Nadie {verb} si hace {weather}.",
        "Con {relative} no se bebe antes de las {count}.",
        "Si vas hacia {place}, llévate tu {thing}.",
    ),
)
