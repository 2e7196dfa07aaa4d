"""How people and systems say no, in the languages of the shipped rules."""

WORDS_FOR_NO = [
    *("STOP", "stop sms", "Unsubscribe", "unsubscribed", "do not call", "DO_NOT_CONTACT", "don't call", "DNC", "opted out"),
    *("objection", "opposed", "withdraw consent", "revoke", "revoked", "remove me", "quit", "cancel", "blacklist", "block"),
    *("XDNC", "DNCL", "DNCC", "DNC All", "DNC skill", "DNC-Campaign", "DNC forever", "internal DNC", "add to DNC"),  # diallers
    *("désinscription", "se désinscrire", "désabonnement", "désabonner", "ne plus appeler", "Ne plus m'appeler"),
    *("ne plus contacter", "opposition", "retrait", "retrait du consentement", "arrêt", "refus", "révocation"),
    *("abmelden", "Abmeldung", "abbestellen", "Widerspruch", "Widerruf", "widerrufen", "nicht anrufen"),
    *("nicht mehr anrufen", "keine Anrufe", "keine Werbung", "Sperrliste"),
    *("afmelden", "afmelding", "uitschrijven", "verzet", "recht van verzet", "bezwaar", "niet bellen", "bel-me-niet"),
    *("niet meer bellen", "intrekken", "toestemming intrekken"),
    *("revoca", "revoca del consenso", "disiscrizione", "cancellazione", "non chiamare", "non contattare", "opposizione"),
    *("non chiamatemi più", "disdetta"),
    *("baja", "darse de baja", "no llamar", "no contactar", "oposición", "revocación", "desuscribir", "no me llamen"),
    *("unsub", "never call", "dnc", "DND", "remove from list", "take me off", "do not disturb", "not interested"),
    *("delete", "erasure", "forget me", "declined", "rejected", "no consent", "leave me alone", "cease and desist"),
    *("Ne m'appelez plus", "n'appelez plus", "ne pas rappeler", "arrêtez", "arrêt des appels", "liste noire", "Bloctel"),
    *("supprimer", "effacement", "résiliation", "bloquer"),
    *("sperren", "gesperrt", "Kontaktsperre", "Robinsonliste", "entfernen", "löschen", "Loeschung", "kein Interesse"),
    *("blokkeren", "geblokkeerd", "verwijderen", "toestemming ingetrokken", "opzeggen", "niet storen"),
    *("cancellare", "non richiamare", "bloccare", "rimuovere", "rimozione", "lista nera", "ritiro consenso", "basta"),
    *("dar de baja", "no volver a llamar", "cancelar", "cancelación", "bloquear", "eliminar", "lista negra", "rechazo"),
]  # fmt: skip
