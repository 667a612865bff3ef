"""What the lines before a table's numbers mean, in the languages in which watches and spreadsheets export them."""

import re
import unicodedata

from ecg_signals.signal.leads import LEADS, OTHER_LEADS

_KINDS = {
    "rate": r"fs|hz|frequency|(?:ecg )?sampl(?:e|es|ing) ?(?:rate|freq(?:uency)?)|messrate|abtast(?:rate|frequenz)|"
            r"(?:frequence|taux) d ?echantillonnage|(?:frecuencia|tasa) de muestreo|frequenza di campionamento|"
            r"(?:frequencia|taxa) de amostragem|(?:sample|bemonsterings)frequentie",
    "units": r"(?:amplitude |signal |voltage )?units?|einheit|unite|unidade?|unita|eenheid",
    "lead": r"leads?|ableitung|derivation|derivacion|derivazione|derivacao|afleiding",
    "start": r"date|recorded(?: date| at)?|recording date|start(?: time)?|auf(?:zeichnungs|nahme)datum|"
             r"date d ?enregistrement|fecha de (?:grabacion|registro)|data di registrazione|"
             r"data de (?:gravacao|registo)|opnamedatum",
    "statement": r"classification|interpretation|determination|klassifizierung|clasificacion|classificazione|"
                 r"classificacao|classificatie",
    "open": r"device(?: version)?|gerat|appareil|dispositivo|apparaat|software ?vers(?:ion|ie)|version (?:du logiciel|"
            r"de software)|versione software|versao do software|symptom(?:e?s|en)?|sintom[ai]s?|"
            r"(?:average )?heart rate|age|alter|edad|sex|gender|geschlecht|sexe|sexo",
}  # fmt: skip
_PERSONAL = re.compile(
    r"name|\bnom\b|\bpat\b|nombre|apellido|cognome|sobrenome|patient|pa[cz]ien|birth|\bdob\b|geburt|geboorte|naissance|"
    r"na[cs]?ci(?:miento|mento|ta)|\bid\b|\bmrn\b|adress?e?|anschrift|direccion|indirizzo|morada|phone|telefon|mail"
)
_NUMBER_OF_HZ = re.compile(
    r"\d{1,9}(?:[.,]\d{1,9})?\s*(?:hz|hertz|hercios?|hertzios?|гц|герц|赫兹|赫茲|ヘルツ)", re.IGNORECASE
)
_OF_A_FILTER = re.compile(r"filt|pass|paso|notch|cut|band|netz|mains|grenz|hoch|tief|high|low")
_LEADS = {name.lower(): name for name in (*LEADS, *OTHER_LEADS)}


def kind_of(key: str, value: str) -> str:
    """What a line "key,value" states: "rate", "units", "lead", "start", "statement"; "open" where it is something else
    that names nobody, "personal" for a person's, "" for what is not known. In any language, what is so many Hz is a
    rate, mV a unit, and the key again with a lead behind it a lead.
    """
    plain = re.sub(r" (?:in )?hz$", "", _plain(key))
    kind = next((kind for kind, form in _KINDS.items() if re.fullmatch(form, plain)), None)
    if kind is not None:
        return kind
    if _PERSONAL.search(plain):
        return "personal"
    if _NUMBER_OF_HZ.fullmatch(value) and not _OF_A_FILTER.search(plain):
        return "rate"
    if value in ("mV", "uV", "\u00b5V", "\u03bcV"):
        return "units"
    return "lead" if value.startswith(f"{key} ") and value[len(key) + 1 :].lower() in _LEADS else ""


def leads_of(value: str) -> list[str]:
    """The leads that "I, II", "Lead I" or "Ableitung I" names; another text as it is."""
    words = re.split(r"[\s,;/]+", value.strip())
    known = [_LEADS[word.lower()] for word in words if word.lower() in _LEADS]
    return known if len(known) == len(words) else [_LEADS.get(words[-1].lower(), value)]


def _plain(text: str) -> str:
    """Small letters without accents, and single blanks for all that is no letter or digit."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return re.sub(r"[\W_]+", " ", "".join(mark for mark in letters if not unicodedata.combining(mark))).strip()
