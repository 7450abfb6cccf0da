"""Texts of the page in English and Indonesian (the default), and formatting of numbers and times. Pure."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Literal, cast

Language = Literal["id", "en"]

LANGUAGES: Mapping[Language, str] = {"id": "Bahasa Indonesia", "en": "English"}

# Name → English, Indonesian.
TEXTS: Mapping[str, tuple[str, str]] = {
    "title": ("Attendance gateway", "Gateway absensi"),
    "language": ("Language", "Bahasa"),
    "as_of": ("as of {time}", "per {time}"),
    "version": ("hadir {version}, running for {uptime}", "hadir {version}, berjalan {uptime}"),
    # What needs a person.
    "attention": ("What to look at", "Yang perlu diperhatikan"),
    "all_well": ("All is well.", "Semua baik."),
    "all_well_more": (
        "Terminals answer, the broker is connected, and the centre confirms what it receives.",
        "Mesin absen menjawab, broker terhubung, dan pusat mengonfirmasi data yang diterimanya.",
    ),
    "unknown_well": ("Nothing on this side needs attention.", "Tidak ada gangguan di sisi ini."),
    "unknown_well_more": (
        "The centre has never confirmed anything, so it is not known whether punches have arrived there.",
        "Pusat belum pernah memberi tanda terima, jadi belum diketahui apakah absen sudah sampai di sana.",
    ),
    "no_broker": ("The broker is not connected", "Broker tidak terhubung"),
    "no_broker_login": ("The broker refuses this gateway's login", "Broker menolak login gateway ini"),
    "no_broker_certificate": ("The broker's certificate is not trusted", "Sertifikat broker tidak dipercaya"),
    "no_broker_taken": (
        "Another machine uses this gateway's name at the broker",
        "Ada komputer lain yang memakai nama gateway ini di broker",
    ),
    "no_broker_replaced": (
        "This is a copy of another gateway: it publishes nothing",
        "Ini salinan gateway lain: tidak mengirim apa pun",
    ),
    "no_broker_kept": (
        "Punches are kept here and sent later.",
        "Absen tersimpan di sini dan dikirim nanti.",
    ),
    "no_broker_do": (
        "Punches are kept here and sent later. The first connection is being tried.",
        "Absen tersimpan di sini dan dikirim nanti. Sambungan pertama sedang dicoba.",
    ),
    "held": ("The broker does not accept everything", "Sebagian kiriman tidak diterima broker"),
    "held_do": ("Ask the centre's administrator.", "Hubungi pengelola sistem pusat."),
    "missing": ("The centre lacks {count} events", "Pusat belum memiliki {count} kejadian"),
    "missing_do": ("They are sent again by themselves.", "Akan dikirim ulang secara otomatis."),
    "unconfirmed": ("The centre has never confirmed anything", "Pusat belum pernah memberi tanda terima"),
    "unconfirmed_since": (
        "The centre has confirmed nothing since {since}",
        "Tidak ada tanda terima dari pusat sejak {since}",
    ),
    "unconfirmed_do": (
        "Ask the centre's administrator whether the punches arrive. They are kept here until then.",
        "Tanyakan ke pengelola sistem pusat apakah absen sampai. Sementara itu data tetap tersimpan di sini.",
    ),
    "unsynchronised": ("This machine's clock is not synchronised", "Jam komputer ini tidak sinkron"),
    "unsynchronised_do": (
        "Punches are marked until it is: timedatectl shows why.",
        "Absen diberi tanda sampai jam sinkron: periksa dengan timedatectl.",
    ),
    "room_news": ("The disk is nearly full", "Disk hampir penuh"),
    "room_none": ("The disk is full: reading has stopped", "Disk penuh: pembacaan berhenti"),
    "room_do": (
        "Make room. Nothing is lost: the terminals keep what is not read yet.",
        "Kosongkan disk. Tidak ada yang hilang: mesin menyimpan yang belum dibaca.",
    ),
    "terminal_offline": ("{terminal} does not answer, since {since}", "{terminal} tidak menjawab sejak {since}"),
    "terminal_refused": (
        "{terminal} answers and refuses the gateway, since {since}",
        "{terminal} menjawab tetapi menolak gateway sejak {since}",
    ),
    "terminal_protocol": (
        "What answers at {terminal} is not understood, since {since}",
        "Jawaban {terminal} tidak dimengerti sejak {since}",
    ),
    "terminal_internal": (
        "{terminal} cannot be read because of a fault in hadir, since {since}",
        "{terminal} tidak terbaca karena kesalahan di dalam hadir sejak {since}",
    ),
    "terminal_waiting": ("{terminal} has not been read yet", "{terminal} belum pernah dibaca"),
    "terminal_clock": ("{terminal}: its clock is {offset}", "{terminal}: jamnya {offset}"),
    "terminal_zone": (
        "{terminal}: its clock is {offset}: perhaps not the clock is wrong, but the time zone",
        "{terminal}: jamnya {offset}: mungkin bukan jamnya yang salah, melainkan zona waktunya",
    ),
    "terminal_full": ("{terminal}: its log is {percent} % full", "{terminal}: log terisi {percent} %"),
    "terminal_full_do": (
        "Clear it at the terminal once the centre has everything.",
        "Kosongkan di mesin setelah semua sampai di pusat.",
    ),
    "terminal_full_on": ("At this pace it is full on {day}.", "Dengan laju ini penuh pada {day}."),
    "terminal_silent": (
        "{terminal} answers, but no punch since {since}",
        "{terminal} menjawab, tetapi tidak ada absen sejak {since}",
    ),
    "terminal_silent_do": ("Try it with a finger.", "Coba dengan jari."),
    # Figures.
    "figures": ("On the way to the centre", "Menuju pusat"),
    "broker": ("Broker", "Broker"),
    "connected": ("connected", "terhubung"),
    "not_connected": ("not connected", "tidak terhubung"),
    "waiting": ("Waiting to be sent", "Menunggu dikirim"),
    "waiting_since": ("the oldest since {since}", "terlama sejak {since}"),
    "last_sent": ("Last sent", "Terakhir dikirim"),
    "last_receipt": ("Last receipt of the centre", "Tanda terima pusat terakhir"),
    "never": ("none yet", "belum ada"),
    "events": ("Recorded events", "Kejadian tercatat"),
    "events_more": ("{sent} sent, {confirmed} confirmed", "{sent} terkirim, {confirmed} diterima pusat"),
    "disk": ("Free on the disk", "Sisa disk"),
    "disk_days": ("enough for {days} days", "cukup untuk {days} hari"),
    # Terminals.
    "terminals": ("Terminals", "Mesin absen"),
    "online": ("answers", "aktif"),
    "offline": ("no answer", "tidak menjawab"),
    "refusing": ("refuses", "menolak"),
    "unreadable": ("cannot be read", "tidak terbaca"),
    "unvisited": ("not read yet", "belum dibaca"),
    "since": ("since {since}", "sejak {since}"),
    "last_punch": ("Last punch", "Absen terakhir"),
    "clock": ("Clock", "Jam"),
    "right": ("right", "tepat"),
    "measured": ("at {time}", "pada {time}"),
    "unknown": ("unknown", "tidak diketahui"),
    "ahead": ("{span} ahead", "lebih cepat {span}"),
    "behind": ("{span} behind", "terlambat {span}"),
    "log": ("Log", "Log"),
    "log_of": ("{records} of {capacity} ({percent}\u00a0%)", "{records} dari {capacity} ({percent}\u00a0%)"),
    "log_only": ("{records} records", "{records} catatan"),
    "serial": ("Serial number", "Nomor seri"),
    "model": ("Model", "Model"),
    "medium": ("Flash disk", "Flash disk"),
    "medium_none": ("none", "tidak ada"),
    "medium_reading": ("is being read: leave it", "sedang dibaca: jangan dicabut"),
    "medium_safe": ("safe to remove", "boleh dicabut"),
    "unread": ("{files} files are NOT read: {names}", "{files} berkas TIDAK dibaca: {names}"),
    # The live feed.
    "feed": ("Punches as they come", "Absen terkini"),
    "feed_live": ("live", "langsung"),
    "feed_lost": ("interrupted, trying again", "terputus, mencoba lagi"),
    "feed_still": (
        "Without JavaScript the page is loaded anew each minute.",
        "Tanpa JavaScript halaman dimuat ulang tiap menit.",
    ),
    "no_punches": ("No punch has been recorded yet.", "Belum ada absen yang tercatat."),
    "time": ("Time", "Waktu"),
    "terminal": ("Terminal", "Mesin"),
    "person": ("PIN", "PIN"),
    "how": ("How", "Cara"),
    # The chart.
    "day": ("Today, by quarter of an hour", "Hari ini, per seperempat jam"),
    "day_described": (
        "{total} punches today up to {time}; the busiest quarter of an hour began at {peak} with {most}.",
        "{total} absen hari ini sampai {time}; seperempat jam tersibuk mulai {peak} dengan {most} absen.",
    ),
    "day_empty": ("No punch today up to {time}.", "Belum ada absen hari ini sampai {time}."),
    "day_usual": (
        "Usually there are {usual} on such a day by this time.",
        "Biasanya {usual} pada hari seperti ini sampai jam ini.",
    ),
    "day_unlearnt": (
        "What is usual is known after two weeks.",
        "Hari biasa baru dapat dibandingkan setelah dua minggu.",
    ),
    "today": ("today", "hari ini"),
    "usual": ("usual {weekday}", "{weekday} biasa"),
    "as_table": ("The same as a table", "Dalam bentuk tabel"),
    "from": ("From", "Mulai"),
    # The tally.
    "tally": ("Terminal, ledger, centre", "Mesin, buku catatan, pusat"),
    "tally_about": (
        "How many records of each day are where. In the log and in the ledger must be equal; the rest follows.",
        "Berapa catatan tiap hari ada di mana. Di log dan di buku harus sama; sisanya menyusul.",
    ),
    "tally_none": ("Nothing has been read yet.", "Belum ada yang dibaca."),
    "in_log": ("In the log", "Di log"),
    "in_ledger": ("In the ledger", "Di buku"),
    "sent": ("Sent", "Terkirim"),
    "at_centre": ("At the centre", "Di pusat"),
    "withheld": ("{count} withheld", "{count} ditahan"),
    "no_date": ("without a date", "tanpa tanggal"),
    "equal": ("equal", "sama"),
    "unconfirmed_day": ("sent, not confirmed by the centre", "terkirim, belum dikonfirmasi pusat"),
    "differs": ("not equal yet", "belum sama"),
    # Alarms.
    "alarms": ("Alarms since the start", "Peringatan sejak mulai"),
    "no_alarms": ("None.", "Tidak ada."),
    # The login.
    "login": ("Token", "Token"),
    "login_about": (
        "It stands in the file that web.token_file names, on the gateway.",
        "Tertulis dalam berkas yang disebut web.token_file, di komputer gateway.",
    ),
    "login_wrong": ("That is not the token.", "Token salah."),
    "login_wait": (
        "Too many wrong tokens from this address. Try again in {seconds} s.",
        "Terlalu banyak token salah dari alamat ini. Coba lagi dalam {seconds} detik.",
    ),
    "login_go": ("Show the page", "Buka halaman"),
}

_LABELS: Mapping[str, tuple[str, str]] = {
    "check_in": ("check-in", "masuk"),
    "check_out": ("check-out", "pulang"),
    "break_out": ("break out", "istirahat"),
    "break_in": ("break in", "kembali"),
    "overtime_in": ("overtime in", "lembur masuk"),
    "overtime_out": ("overtime out", "lembur pulang"),
    "not_set": ("not set", "tanpa status"),
    "password": ("password", "sandi"),
    "fingerprint": ("fingerprint", "sidik jari"),
    "card": ("card", "kartu"),
    "face": ("face", "wajah"),
    "palm": ("palm", "telapak"),
    "reset": ("clock was reset", "jam ter-reset"),
    "future": ("in the future", "di masa depan"),
    "step": ("clock jumped", "jam melompat"),
    "drift": ("clock is off", "jam tidak tepat"),
    "unverified": ("unverified", "belum diverifikasi"),
    "unmeasured": ("clock not measured then", "jam saat itu tidak diukur"),
    "host_time": ("time of the gateway", "waktu dari gateway"),
}
"""Labels of codes of terminals and events; a code without a label is shown as it is."""
NORMAL = frozenset({"unmeasured", "host_time"})
"""Values of `suspect` that are usual: of a backlog, of files, and of lines whose messages have no time."""
_ALARMS: Mapping[str, tuple[str, str]] = {
    "terminal_lost": ("Terminal lost", "Mesin tidak menjawab"),
    "terminal_found": ("Terminal answers again", "Mesin menjawab lagi"),
    "terminal_refused": ("Terminal refuses", "Mesin menolak"),
    "serial_changed": ("Another terminal answers", "Mesin lain yang menjawab"),
    "clock_stepped": ("A terminal's clock jumped", "Jam mesin melompat"),
    "clock_set": ("A terminal's clock was set", "Jam mesin disetel"),
    "clock_not_set": ("A terminal's clock was not set", "Jam mesin tidak disetel"),
    "log_unreadable": ("A log cannot be read", "Log tidak terbaca"),
    "log_differs": ("A log differs", "Log berbeda"),
    "log_filling": ("A log is filling up", "Log hampir penuh"),
    "line_unreadable": ("A line cannot be read", "Saluran tidak terbaca"),
    "file_refused": ("A file is refused", "Berkas ditolak"),
    "terminal_silent": ("Unusually silent", "Tidak ada absen"),
    "terminal_heard": ("Heard again", "Ada absen lagi"),
    "delivery_refused": ("The broker refuses", "Broker menolak"),
    "no_subscriber": ("Nobody subscribes", "Tidak ada penerima"),
    "message_parked": ("A message is refused for good", "Pesan ditolak selamanya"),
    "client_id_taken": ("Two gateways with one name", "Dua gateway bernama sama"),
    "login_refused": ("The broker refuses the login", "Broker menolak login"),
    "disk_floor": ("The disk is full", "Disk penuh"),
    "disk_room": ("There is room again", "Disk lega lagi"),
    "stream_opened": ("A new stream began", "Aliran baru dimulai"),
    "ledger_salvaged": ("The ledger was damaged", "Buku catatan rusak"),
    "backup_failed": ("The backup failed", "Cadangan gagal"),
    "subscription_refused": ("A subscription is refused", "Langganan ditolak"),
    "receipt_invalid": ("A receipt is not valid", "Tanda terima tidak sah"),
    "settings_refused": ("The configuration has mistakes", "Konfigurasi salah"),
    "settings_outdated": (
        "The configuration has values that must be changed",
        "Konfigurasi berisi nilai yang perlu diganti",
    ),
    "certificates_not_strict": ("Incomplete certificates are accepted", "Sertifikat tidak lengkap diterima"),
    "settings_reloaded": ("The configuration is right again", "Konfigurasi sudah benar"),
    "doctor_called": ("The doctor was here", "Dokter memeriksa"),
    "body_altered": ("An event in the ledger was altered", "Data di buku catatan berubah"),
    "rollback_repeated": ("Claims of a set-back ledger, ignored", "Klaim buku mundur diabaikan"),
    "receipt_foreign": ("A receipt for another ledger", "Tanda terima milik buku lain"),
    "rollback_detected": ("The ledger was set back", "Buku catatan mundur"),
    "message_too_large": ("A message is too large", "Pesan terlalu besar"),
    "driver_failed": ("A terminal cannot be read: a mistake in Hadir", "Mesin gagal dibaca: kesalahan di Hadir"),
    "writes_not_held": ("The disk is full, punches are lost", "Disk penuh, ada absen yang hilang"),
    "job_failed": ("A nightly job failed", "Pekerjaan malam gagal"),
    "identity_changed": ("A terminal is not what it was", "Identitas mesin berubah"),
}
_WEEKDAYS: Mapping[Language, tuple[str, ...]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "id": ("Senin", "Selasa", "Rabu", "Kamis", "Jumat", "Sabtu", "Minggu"),
}
_MONTHS: Mapping[Language, str] = {
    "en": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    "id": "Jan Feb Mar Apr Mei Jun Jul Agu Sep Okt Nov Des",
}
_UNITS: Mapping[Language, tuple[tuple[str, int], ...]] = {
    "en": (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)),
    "id": (("hari", 86400), ("jam", 3600), ("menit", 60), ("detik", 1)),
}
_SAME_YEAR = timedelta(days=180)
_SIZES = ("B", "kB", "MB", "GB", "TB")


def language(requested: str | None, accept: str) -> Language:
    """Return the language of the query (``?lang=``), else the browser's preferred one (``Accept-Language``)."""
    if requested in LANGUAGES:
        return cast("Language", requested)
    best: tuple[float, Language] = (0.0, "id")
    for part in accept.split(","):
        tag, _, rest = part.strip().partition(";")
        code = tag.split("-")[0].strip().lower()
        try:
            quality = float(rest.strip().removeprefix("q=") or 1.0)
        except ValueError:
            continue
        if code in LANGUAGES and quality > best[0]:
            best = quality, cast("Language", code)
    return best[1]


class Messages:
    """Texts of one language at one local time; dates and years that this time implies are left out."""

    def __init__(self, language: Language, now: datetime) -> None:
        self.language = language
        self.zone = now.tzinfo
        self._now = now.replace(tzinfo=None)
        self._index = 0 if language == "en" else 1

    def __call__(self, name: str, **values: object) -> str:
        """Return the text of a name."""
        return TEXTS[name][self._index].format_map(values)

    @staticmethod
    def language_named(code: Language) -> str:
        """Return a language's own name."""
        return LANGUAGES[code]

    def label(self, code: str | int | None) -> str:
        """Return the label of a terminal's or event's code; a code without a label as it is."""
        if code is None:
            return ""
        return _LABELS.get(str(code), (str(code),) * 2)[self._index]

    def alarm(self, code: str) -> str:
        """Return the title of an alarm."""
        return _ALARMS.get(code, (code,) * 2)[self._index]

    def number(self, number: float) -> str:
        """Return a number with thousands separators and, unless it is an integer, one decimal."""
        text = f"{number:,.0f}" if number == int(number) else f"{number:,.1f}"
        return text if self.language == "en" else text.translate(str.maketrans(",.", ".,"))

    def size(self, number: float) -> str:
        """Return a number of bytes."""
        unit = 0
        while number >= 1000 and unit < len(_SIZES) - 1:
            number, unit = number / 1000, unit + 1
        return f"{self.number(round(number, 1) if number < 10 else round(number))} {_SIZES[unit]}"

    def weekday(self, day: date) -> str:
        """Return the name of the day of the week."""
        return _WEEKDAYS[self.language][day.weekday()]

    def date(self, day: date) -> str:
        """Return a day with its weekday."""
        month = _MONTHS[self.language].split()[day.month - 1]
        return f"{self.weekday(day)[:3]}, {day.day} {month} {day.year}"

    def moment(self, local: datetime | str) -> str:
        """Return a local time to the second; without its date if it is today's."""
        if isinstance(local, str):
            local = datetime.fromisoformat(local)
        if local.date() == self._now.date():
            return f"{local:%H:%M:%S}"
        month = _MONTHS[self.language].split()[local.month - 1]
        year = "" if abs(self._now - local) < _SAME_YEAR else f" {local.year}"
        return f"{local.day} {month}{year} {local:%H:%M:%S}"

    def utc(self, moment: str) -> str:
        """Return a UTC time (ISO 8601) as local time."""
        return self.moment(datetime.fromisoformat(moment).astimezone(self.zone).replace(tzinfo=None))

    def today(self) -> str:
        """Return the present local time with its date."""
        return f"{self.date(self._now.date())} {self._now:%H:%M:%S}"

    def span(self, seconds: float) -> str:
        """Return the two largest units of a duration."""
        left, parts = round(abs(seconds)), list[str]()
        for unit, length in _UNITS[self.language]:
            count, left = divmod(left, length)
            if count or parts or length == 1:
                parts.append(f"{count} {unit}")
        return " ".join(part for part in parts[:2] if part == parts[0] or not part.startswith("0 "))

    def offset(self, clock: Mapping[str, int] | None) -> str:
        """Return a clock's offset in words; ``right`` where it is within the measurement's bound."""
        if clock is None:
            return self("unknown")
        offset_ms = clock["offset_ms"]
        if abs(offset_ms) <= max(clock["bound_ms"], 1000):
            return self("right")
        return self("ahead" if offset_ms > 0 else "behind", span=self.span(offset_ms / 1000))
