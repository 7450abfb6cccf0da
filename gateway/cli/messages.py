"""Texts of `hadir doctor` and `hadir init` in English and Indonesian. No other module holds these texts.

``STEPS`` names the steps of :mod:`gateway.doctor`; ``FINDINGS`` describes the possible results of a step and, for a
problem, the advice what to do next. Values replace the names in braces.
"""

import os
from enum import StrEnum
from typing import NamedTuple


class Language(StrEnum):
    """A language that people are user_language to in."""

    ENGLISH = "en"
    INDONESIAN = "id"


class Bilingual(NamedTuple):
    """One text in both languages."""

    en: str
    id: str

    def into(self, language: Language, **values: object) -> str:
        """Return the text in one language, with its values filled in."""
        return (self.en if language is Language.ENGLISH else self.id).format(**values)


class FindingText(NamedTuple):
    """Text of a finding, and advice where the finding is a problem."""

    text: Bilingual
    advice: Bilingual | None = None


def user_language() -> Language:
    """Return the language of this computer's user: Indonesian if the locale is Indonesian, else English."""
    locale = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return Language.INDONESIAN if locale.partition("_")[0].lower() in ("id", "in") else Language.ENGLISH


STEPS = {
    "configuration": Bilingual("configuration", "konfigurasi"),
    "network": Bilingual("network", "jaringan"),
    "daemon": Bilingual("daemon", "daemon"),
    "data_dir": Bilingual("data folder", "folder data"),
    "ledger": Bilingual("ledger", "ledger"),
    "disk": Bilingual("room on the disk", "ruang disk"),
    "clock": Bilingual("this computer's clock", "jam komputer ini"),
    "route": Bilingual("way to it", "jalur jaringan"),
    "port": Bilingual("port", "port"),
    "key": Bilingual("communication key", "kunci komunikasi"),
    "serial": Bilingual("serial number", "nomor seri"),
    "terminal_clock": Bilingual("its clock", "jam mesin"),
    "log": Bilingual("its log", "log mesin"),
    "record": Bilingual("last record", "catatan terakhir"),
    "name": Bilingual("name", "nama"),
    "broker_port": Bilingual("port", "port"),
    "tls": Bilingual("encryption", "enkripsi"),
    "login": Bilingual("login", "login"),
    "receipts": Bilingual("may read receipts", "boleh menerima receipt"),
    "publish": Bilingual("may publish", "boleh mengirim"),
    "subscriber": Bilingual("subscriber", "ada yang menerima"),
    "receipt": Bilingual("receipt of the centre", "receipt dari pusat"),
    "session": Bilingual("daemon's connection", "koneksi daemon"),
}

PARTS = {"gateway": Bilingual("gateway", "gateway"), "broker": Bilingual("broker", "broker")}

FINDINGS = {
    # In general.
    "fine": FindingText(Bilingual("fine", "baik")),
    "not_reached": FindingText(Bilingual("not reached", "belum dapat diperiksa")),
    "too_slow": FindingText(
        Bilingual("nothing came within {seconds} s", "tidak ada hasil dalam {seconds} detik"),
        Bilingual(
            "Try again; if it stays so, look at this computer's network, its DNS server and its load.",
            "Coba lagi; kalau tetap begitu, periksa jaringan, server DNS, dan beban komputer ini.",
        ),
    ),
    # The configuration and this machine.
    "configuration_read": FindingText(Bilingual("{file}: no mistakes", "{file}: tidak ada kesalahan")),
    "configuration_outdated": FindingText(
        Bilingual(
            "{file} is used as before; {count} lines must be changed: see `hadir check`",
            "{file} dipakai seperti sebelumnya; {count} baris perlu diganti: lihat `hadir check`",
        )
    ),
    "configuration_wrong": FindingText(
        Bilingual("mistakes: {count}; the first: {first}", "kesalahan: {count}; yang pertama: {first}"),
        Bilingual(
            "Correct the lines that `hadir check` shows; without a configuration, make one with `sudo hadir init`.",
            "Perbaiki baris yang ditunjukkan `hadir check`; kalau belum ada, buat dengan `sudo hadir init`.",
        ),
    ),
    "network": FindingText(Bilingual("connected", "tersambung")),
    "network_unused": FindingText(
        Bilingual("not needed: all addresses are this computer's own", "tidak perlu: semua alamat di komputer ini")
    ),
    "no_cable": FindingText(
        Bilingual("no network cable is connected, and no Wi-Fi", "tidak ada kabel jaringan atau Wi-Fi yang tersambung"),
        Bilingual(
            "Plug the network cable in at both ends (its lamps must light), or connect the Wi-Fi. Punches wait safely.",
            "Pasang kabel jaringan di kedua ujung (lampunya harus menyala), atau sambungkan Wi-Fi. Absen tetap aman.",
        ),
    ),
    "no_network": FindingText(
        Bilingual(
            "this computer has no address in any network", "komputer ini tidak punya alamat di jaringan mana pun"
        ),
        Bilingual(
            "Look at `ip address` and at the router (DHCP), or set a fixed address. Punches wait safely.",
            "Lihat `ip address` dan router (DHCP), atau atur alamat tetap. Absen tetap aman.",
        ),
    ),
    "no_daemon": FindingText(Bilingual("no daemon answers here", "tidak ada daemon yang menjawab di sini")),
    "daemon_mute": FindingText(
        Bilingual(
            "one has the ledger in {folder}, and does not answer", "ada yang memakai ledger di {folder}, tetapi diam"
        ),
        Bilingual(
            "Look at its log (`journalctl -u hadir`), then restart it (`systemctl restart hadir`).",
            "Lihat log-nya (`journalctl -u hadir`), lalu jalankan ulang (`systemctl restart hadir`).",
        ),
    ),
    "daemon_hidden": FindingText(
        Bilingual(
            "you may not look whether one runs in {folder}", "tidak ada izin melihat apakah daemon berjalan di {folder}"
        ),
        Bilingual(
            "Run this as the user that runs the daemon, or with sudo.",
            "Jalankan sebagai pengguna daemon, atau dengan sudo.",
        ),
    ),
    "daemon_runs": FindingText(Bilingual("runs, version {version}", "berjalan, versi {version}")),
    "writable": FindingText(Bilingual("{folder} can be written", "{folder} dapat ditulis")),
    "made_at_start": FindingText(
        Bilingual("{folder} is made at the first start", "{folder} dibuat saat pertama dijalankan")
    ),
    "disk_full": FindingText(
        Bilingual("{folder}: the disk is full ({reason})", "{folder}: disk penuh ({reason})"),
        Bilingual(
            "Make room on the disk (`df`). Nothing is lost: the terminals keep what is not read yet.",
            "Kosongkan ruang disk (`df`). Tidak ada data hilang: mesin absen menyimpan yang belum dibaca.",
        ),
    ),
    "read_only": FindingText(
        Bilingual("{folder}: the disk is read-only ({reason})", "{folder}: disk hanya dapat dibaca ({reason})"),
        Bilingual(
            "The disk or card may be failing: look at `dmesg`, save data_dir, exchange it.",
            "Disk atau kartu mungkin rusak: lihat `dmesg`, selamatkan data_dir, lalu ganti.",
        ),
    ),
    "no_permission": FindingText(
        Bilingual("{folder}: you may not write there ({reason})", "{folder}: tidak ada izin menulis ({reason})"),
        Bilingual(
            "Run this as the user that runs the daemon, or with sudo; if you are it, give it the folder (chown).",
            "Jalankan sebagai pengguna daemon atau dengan sudo; kalau sudah, ubah pemilik folder itu (chown).",
        ),
    ),
    "not_writable": FindingText(
        Bilingual("{folder} cannot be written ({reason})", "{folder} tidak dapat ditulis ({reason})"),
        Bilingual(
            "Look at the disk (`df`, `dmesg`), or choose another data_dir.",
            "Periksa disk (`df`, `dmesg`), atau pilih data_dir lain.",
        ),
    ),
    "no_ledger": FindingText(
        Bilingual("none yet; the first start makes it", "belum ada; dibuat saat pertama dijalankan")
    ),
    "ledger_counts": FindingText(
        Bilingual("{events} events, {waiting} of them wait", "{events} event, {waiting} menunggu")
    ),
    "ledger_unusable": FindingText(
        Bilingual("{reason}", "{reason}"),
        Bilingual(
            "`hadir verify` looks closer; a daemon that is started saves what can be read by itself.",
            "Periksa dengan `hadir verify`; saat dijalankan, daemon menyelamatkan sendiri yang masih dapat dibaca.",
        ),
    ),
    "ledger_altered": FindingText(
        Bilingual(
            "{events} events are not what was written: they are kept and not sent",
            "{events} data berubah dari yang ditulis: disimpan, tidak dikirim",
        ),
        Bilingual(
            "Keep a copy of data_dir as it is, look at the disk, and run `hadir verify`; find out who had access.",
            "Simpan salinan folder data apa adanya, periksa disk, jalankan `hadir verify`; cari siapa yang mengubah.",
        ),
    ),
    "room": FindingText(Bilingual("{free} free, {floor} are kept free", "{free} kosong, {floor} harus tetap kosong")),
    "below_floor": FindingText(
        Bilingual(
            "{free} free, but {floor} are to stay free: reading stops",
            "{free} kosong, harus tersisa {floor}: pembacaan berhenti",
        ),
        Bilingual(
            "Make room on the disk; or, if that is meant, lower retention.free_floor.",
            "Kosongkan ruang disk; atau, bila memang disengaja, kecilkan retention.free_floor.",
        ),
    ),
    "clock_synchronised": FindingText(Bilingual("synchronised", "sinkron")),
    "clock_not_synchronised": FindingText(
        Bilingual("not synchronised: punches are marked unverified", "tidak sinkron: presensi ditandai unverified"),
        Bilingual(
            "Switch on time synchronisation (`timedatectl set-ntp true`) with a time server that can be reached.",
            "Nyalakan sinkronisasi waktu (`timedatectl set-ntp true`) dengan server waktu yang terjangkau.",
        ),
    ),
    # Terminals.
    "daemon_holds_it": FindingText(Bilingual("the daemon talks to it", "daemon sedang tersambung dengannya")),
    "left_alone": FindingText(
        Bilingual("not tried: a daemon may be talking to it", "tidak dicoba: mungkin daemon sedang memakainya")
    ),
    "still_busy": FindingText(
        Bilingual(
            "the daemon is busy with it; see `hadir status`", "daemon masih sibuk dengannya; lihat `hadir status`"
        )
    ),
    "daemon_refuses": FindingText(
        Bilingual("the daemon does not tell of it ({reason})", "daemon tidak memberi kabar tentangnya ({reason})"),
        Bilingual(
            "It runs with an older configuration: `hadir reload`.",
            "Konfigurasinya yang lama: jalankan `hadir reload`.",
        ),
    ),
    "daemon_silent": FindingText(
        Bilingual("the daemon does not tell of it", "daemon tidak memberi kabar tentangnya"),
        Bilingual(
            "It has ended, or hangs: look at its log, restart it (`systemctl restart hadir`).",
            "Daemon berhenti atau macet: lihat log, lalu jalankan ulang (`systemctl restart hadir`).",
        ),
    ),
    "not_visited": FindingText(
        Bilingual("the daemon has not met it yet ({reason})", "daemon belum bertemu dengannya ({reason})"),
        Bilingual(
            "Check power, cable and address; then call the doctor once more.",
            "Periksa listrik, kabel dan alamat; lalu jalankan doctor sekali lagi.",
        ),
    ),
    "terminal_name_unknown": FindingText(
        Bilingual("{reason}", "namanya tidak ditemukan ({reason})"),
        Bilingual(
            "Check the spelling of its address, or write its IP address.",
            "Periksa ejaan alamatnya, atau tulis alamat IP-nya.",
        ),
    ),
    "no_route": FindingText(
        Bilingual("this computer has no way there ({reason})", "komputer ini tidak punya jalur ke sana ({reason})"),
        Bilingual(
            "Check this computer's own cable, address and gateway.",
            "Periksa kabel, alamat IP, dan gateway komputer ini.",
        ),
    ),
    "port_closed": FindingText(
        Bilingual(
            "somebody is there, but not at this port ({reason})", "alamatnya ada, tetapi portnya tertutup ({reason})"
        ),
        Bilingual(
            "Compare address and port with the terminal's menu (Comm. > Ethernet): the address may be another's.",
            "Cocokkan alamat dan port dengan menu mesin (Comm. > Ethernet): alamat itu mungkin milik perangkat lain.",
        ),
    ),
    "silent": FindingText(
        Bilingual("no answer ({reason})", "tidak ada jawaban ({reason})"),
        Bilingual(
            "Check power, network cable and address; some terminals talk to one program only.",
            "Periksa listrik, kabel jaringan, dan alamat IP; sebagian mesin hanya melayani satu program.",
        ),
    ),
    "port_permission": FindingText(
        Bilingual("this user may not use the port ({reason})", "pengguna ini tidak boleh memakai port ({reason})"),
        Bilingual(
            "usermod -a -G dialout USER, then log in again.",
            "Masukkan pengguna ke grup dialout (usermod -a -G dialout PENGGUNA), lalu login ulang.",
        ),
    ),
    "port_in_use": FindingText(
        Bilingual("another program has the port ({reason})", "port dipakai program lain ({reason})"),
        Bilingual(
            "Stop it: the vendor's software, a console or a modem manager.",
            "Hentikan program itu: perangkat lunak vendor, konsol, atau modem manager.",
        ),
    ),
    "port_missing": FindingText(
        Bilingual("there is no such port ({reason})", "port itu tidak ada ({reason})"),
        Bilingual(
            "Plug the adapter in; /dev/serial/by-id has names that stay the same.",
            "Pasang adaptornya; nama di /dev/serial/by-id tidak berubah-ubah.",
        ),
    ),
    "files_unreadable": FindingText(
        Bilingual("its files cannot be read ({reason})", "berkasnya tidak terbaca ({reason})"),
        Bilingual(
            "Check `path:` and whether the flash disk is in its place and readable by everybody (umask=022).",
            "Periksa `path:`, dan apakah flash disk terpasang serta boleh dibaca semua pengguna (umask=022).",
        ),
    ),
    "key_file": FindingText(
        Bilingual("the file with the key cannot be used ({reason})", "berkas kunci tidak dapat dipakai ({reason})"),
        Bilingual(
            "Write the key, a number, into the file that comm_key_file names; the service reads /etc/hadir/secrets.",
            "Tulis kunci (angka) ke berkas yang disebut comm_key_file; layanan membaca /etc/hadir/secrets.",
        ),
    ),
    "driver_failed": FindingText(
        Bilingual("a fault in hadir ({reason})", "kesalahan di dalam hadir ({reason})"),
        Bilingual(
            "Update hadir; send the log and `hadir doctor --report` to whoever helps. The terminal keeps its punches.",
            "Perbarui hadir; kirim log dan `hadir doctor --report` ke yang membantu. Absen tetap ada di mesin.",
        ),
    ),
    "key_refused": FindingText(
        Bilingual("refused ({reason})", "ditolak ({reason})"),
        Bilingual(
            "Write the key of the terminal's menu (Comm. > PC connection) into the file that comm_key_file names.",
            "Tulis kunci dari menu mesin (Comm. > PC connection / Comm Key) ke berkas yang disebut comm_key_file.",
        ),
    ),
    "encrypted": FindingText(
        Bilingual("{reason}", "mesin meminta komunikasi terenkripsi ({reason})"),
        Bilingual(
            "Switch the secure mode off in the terminal's menu.",
            "Matikan mode aman di menu mesin.",
        ),
    ),
    "panel": FindingText(
        Bilingual("a door panel answers ({reason})", "yang menjawab panel pintu ({reason})"),
        Bilingual(
            "Correct the address: it is not the terminal's.", "Perbaiki alamatnya: itu bukan alamat mesin absen."
        ),
    ),
    "refuses": FindingText(
        Bilingual("refused ({reason})", "ditolak ({reason})"),
        Bilingual("Look at the terminal's own menu.", "Periksa menu mesin."),
    ),
    "not_a_terminal": FindingText(
        Bilingual(
            "what answers is no terminal we know ({reason})", "yang menjawab bukan mesin yang dikenal ({reason})"
        ),
        Bilingual(
            "Check address, port and driver; if it is a terminal, send the report to whoever helps.",
            "Periksa alamat, port, dan driver; kalau memang mesin absen, kirim laporan ke yang membantu.",
        ),
    ),
    "broke_off": FindingText(
        Bilingual("the conversation broke off ({reason})", "percakapan terputus ({reason})"),
        Bilingual(
            "Check cable and network; does another program talk to the terminal too?",
            "Periksa kabel dan jaringan; apakah ada program lain yang juga memakai mesin ini?",
        ),
    ),
    "serial": FindingText(Bilingual("{serial}", "{serial}")),
    "serial_not_told": FindingText(
        Bilingual("the terminal does not tell it", "mesin tidak memberitahukannya"),
        Bilingual(
            "Write the number on its back into `serial:`, in quotes.",
            "Tulis nomor di belakang mesin ke `serial:`, dalam tanda kutip.",
        ),
    ),
    "serial_differs": FindingText(
        Bilingual("another terminal answers: {reason}", "mesin lain yang menjawab: {reason}"),
        Bilingual(
            "If it was replaced, write the new number into `serial:`; otherwise correct the address.",
            "Kalau mesin diganti, tulis nomor baru ke `serial:`; kalau tidak, perbaiki alamatnya.",
        ),
    ),
    "serial_twice": FindingText(
        Bilingual("{reason}", "nomor seri ini sudah milik mesin lain ({reason})"),
        Bilingual(
            "If it was renamed or moved, write its `serial:` here and remove the other entry.",
            "Kalau mesin dipindah atau diganti namanya, tulis `serial:` di sini dan hapus yang lama.",
        ),
    ),
    "clock_right": FindingText(Bilingual("{seconds} s off", "selisih {seconds} detik")),
    "clock_zone": FindingText(
        Bilingual(
            "{seconds} s off, about whole hours or quarters: most likely the time zone, not the clock",
            "selisih {seconds} detik, kira-kira kelipatan jam atau seperempat jam: mungkin zona waktu, bukan jamnya",
        ),
        Bilingual(
            "Look at the terminal's display first. If it shows the right local time, leave it alone and correct "
            "`timezone:` in the configuration; only if the display is wrong, set the clock in its menu.",
            "Lihat dulu layar mesin. Kalau jamnya sesuai waktu setempat, jangan diubah: perbaiki `timezone:` di "
            "konfigurasi. Hanya kalau layarnya memang salah, setel jam di menu mesin.",
        ),
    ),
    "clock_unjudged": FindingText(
        Bilingual(
            "{seconds} s off this computer's clock, which is not synchronised",
            "selisih {seconds} detik dari jam komputer ini, yang tidak sinkron",
        ),
        Bilingual(
            "Do not touch the terminal's clock: mend the clock of this computer first (`timedatectl`).",
            "Jangan ubah jam mesin: betulkan dulu jam komputer gateway (`timedatectl`).",
        ),
    ),
    "clock_off": FindingText(
        Bilingual("{seconds} s off, more than {tolerance} s", "selisih {seconds} detik, lebih dari {tolerance} detik"),
        Bilingual(
            "Compare the terminal's display with a right clock; if it is wrong, set it in its menu. Until then its "
            "punches are marked.",
            "Cocokkan layar mesin dengan jam yang benar; kalau memang salah, setel di menu mesin. Sampai saat itu "
            "absennya ditandai.",
        ),
    ),
    "clock_impossible": FindingText(
        Bilingual("shows no possible date", "menunjukkan tanggal yang mustahil"),
        Bilingual(
            "Set the clock at the terminal, and change its battery.",
            "Betulkan jam di mesin, dan ganti baterainya.",
        ),
    ),
    "no_clock": FindingText(Bilingual("it has none", "tidak ada")),
    "log_size": FindingText(Bilingual("{records} of {capacity} records", "{records} dari {capacity} catatan")),
    "log_filling": FindingText(
        Bilingual("nearly full: {records} of {capacity} records", "hampir penuh: {records} dari {capacity} catatan"),
        Bilingual(
            "When `hadir status` shows that everything is confirmed, clear it in the terminal's menu.",
            "Setelah `hadir status` menunjukkan semua terkonfirmasi, hapus log lewat menu mesin.",
        ),
    ),
    "not_counted": FindingText(Bilingual("it does not tell its size", "ukurannya tidak diberitahukan")),
    "no_log": FindingText(Bilingual("a line keeps no log", "jalur teks tidak menyimpan log")),
    "no_medium": FindingText(Bilingual("no flash disk is there", "flash disk tidak terpasang")),
    "medium_there": FindingText(Bilingual("files can be looked at", "berkas dapat dibaca")),
    "not_read": FindingText(Bilingual("not read, to spare the line", "tidak dibaca, agar jalur tidak terbebani")),
    "no_punch_yet": FindingText(Bilingual("none yet", "belum ada")),
    "last_punch": FindingText(Bilingual("{local_time} by its clock", "{local_time} menurut jam mesin")),
    "last_record": FindingText(
        Bilingual("{local_time} by its clock, layout {layout}", "{local_time} menurut jam mesin, susunan {layout}")
    ),
    "record_unreadable": FindingText(
        Bilingual(
            "its last record cannot be read in layout {layout}", "catatan terakhir tidak terbaca dalam susunan {layout}"
        ),
        Bilingual(
            "Make a test punch and call the doctor again; if it stays so, send the report to whoever helps.",
            "Lakukan presensi percobaan lalu jalankan doctor lagi; kalau tetap, kirim laporan ke yang membantu.",
        ),
    ),
    "layout_unknown": FindingText(
        Bilingual("its records are laid out in no known way ({reason})", "susunan catatannya tidak dikenal ({reason})"),
        Bilingual(
            "Nothing is lost, the terminal keeps them. Send the report and data_dir/captures to whoever helps.",
            "Data tetap ada di mesin. Kirim laporan dan data_dir/captures ke yang membantu.",
        ),
    ),
    # The broker.
    "address": FindingText(Bilingual("{addresses}", "{addresses}")),
    "broker_name_unknown": FindingText(
        Bilingual("{host} cannot be looked up ({reason})", "{host} tidak ditemukan ({reason})"),
        Bilingual(
            "Check the spelling of mqtt.url, and this computer's DNS server (`resolvectl status`).",
            "Periksa ejaan mqtt.url, dan server DNS komputer ini (`resolvectl status`).",
        ),
    ),
    "broker_port_open": FindingText(Bilingual("{where} answers", "{where} menjawab")),
    "broker_refuses_port": FindingText(
        Bilingual("nobody listens at {where} ({reason})", "tidak ada yang menerima di {where} ({reason})"),
        Bilingual(
            "Check the port in mqtt.url; if it is right, the broker is down: ask whoever runs it.",
            "Periksa port di mqtt.url; kalau benar, broker sedang mati: hubungi pengelolanya.",
        ),
    ),
    "broker_silent": FindingText(
        Bilingual("{where} does not answer ({reason})", "{where} tidak menjawab ({reason})"),
        Bilingual(
            "Check this computer's network; then ask whether a firewall lets it out to that port.",
            "Periksa jaringan komputer ini; lalu tanyakan apakah firewall mengizinkan port itu.",
        ),
    ),
    "not_encrypted": FindingText(
        Bilingual("none: mqtt.url begins with mqtt://", "tidak ada: mqtt.url diawali mqtt://")
    ),
    "tls": FindingText(Bilingual("{version}, its certificate is trusted", "{version}, sertifikatnya dipercaya")),
    "tls_incomplete": FindingText(
        Bilingual(
            "the broker's certificate is incomplete ({reason}); it is accepted today",
            "sertifikat broker tidak lengkap ({reason}); untuk saat ini masih diterima",
        ),
        Bilingual(
            "Ask whoever runs the broker for complete certificates: docs/broker.md shows how they are made.",
            "Mintalah sertifikat yang lengkap kepada pengelola broker: docs/broker.md menunjukkan cara membuatnya.",
        ),
    ),
    "tls_files": FindingText(
        Bilingual(
            "the certificate files cannot be used ({reason})", "berkas sertifikat tidak dapat dipakai ({reason})"
        ),
        Bilingual("Check mqtt.ca_file, cert_file and key_file.", "Periksa mqtt.ca_file, cert_file, dan key_file."),
    ),
    "not_trusted": FindingText(
        Bilingual("its certificate is not trusted ({reason})", "sertifikatnya tidak dipercaya ({reason})"),
        Bilingual(
            "Name the authority's certificate with mqtt.ca_file; check the host in mqtt.url and this computer's date.",
            "Tunjukkan sertifikat CA dengan mqtt.ca_file; periksa nama host di mqtt.url dan tanggal komputer ini.",
        ),
    ),
    "no_tls": FindingText(
        Bilingual("no encrypted connection comes about ({reason})", "koneksi terenkripsi gagal ({reason})"),
        Bilingual(
            "Is it the port for TLS, usually 8883? Otherwise ask whoever runs the broker.",
            "Apakah itu port TLS, biasanya 8883? Kalau ya, hubungi pengelola broker.",
        ),
    ),
    "login": FindingText(Bilingual("accepted", "diterima")),
    "login_nameless": FindingText(Bilingual("accepted without a name", "diterima tanpa nama")),
    "login_files": FindingText(
        Bilingual("{reason}", "berkas untuk login tidak dapat dipakai ({reason})"),
        Bilingual(
            "Run this as the user that runs the daemon; check the files that mqtt names.",
            "Jalankan sebagai pengguna daemon; periksa berkas yang disebut di bagian mqtt.",
        ),
    ),
    "login_broke": FindingText(
        Bilingual("the broker closes the connection ({reason})", "broker menutup koneksi ({reason})"),
        Bilingual(
            "Is it a broker? With TLS, mqtt.url begins with mqtts://. Otherwise look at the broker's log.",
            "Benarkah itu broker? Untuk TLS, mqtt.url diawali mqtts://. Kalau sudah, lihat log broker.",
        ),
    ),
    "wants_certificate": FindingText(
        Bilingual("the broker closes the connection ({reason})", "broker menutup koneksi ({reason})"),
        Bilingual(
            "Most likely it does not take this gateway's certificate, or wants one: mqtt.cert_file and key_file.",
            "Kemungkinan sertifikat gateway ini ditolak, atau broker memintanya: mqtt.cert_file dan key_file.",
        ),
    ),
    "broker_broke": FindingText(
        Bilingual("the connection breaks ({reason})", "koneksi terputus ({reason})"),
        Bilingual(
            "If it stays so, look at this computer's network and at the broker's log.",
            "Kalau terus terjadi, periksa jaringan komputer ini dan log broker.",
        ),
    ),
    "client_taken": FindingText(
        Bilingual("{reason}", "komputer lain memakai nama gateway ini ({reason})"),
        Bilingual(
            "Two machines use the same `site` and `gateway`: find the other one; docs/operations.en.md, section 7.",
            "Dua komputer memakai `site` dan `gateway` yang sama: cari yang satunya; docs/operations.id.md, bagian 7.",
        ),
    ),
    "copy_stopped": FindingText(
        Bilingual("{reason}", "ini salinan dari gateway lain ({reason})"),
        Bilingual(
            "Switch this copy off, or give it a name of its own; docs/operations.en.md, section 7.",
            "Matikan salinan ini, atau beri nama sendiri; docs/operations.id.md, bagian 7.",
        ),
    ),
    "says_nothing": FindingText(
        Bilingual("the broker says nothing", "broker diam saja"),
        Bilingual("Is it a broker at all? Check mqtt.url.", "Benarkah itu broker? Periksa mqtt.url."),
    ),
    "login_refused": FindingText(
        Bilingual("refused ({reason})", "ditolak ({reason})"),
        Bilingual(
            "Check mqtt.username, the password file, and the broker's list of users.",
            "Periksa mqtt.username, berkas kata sandi, dan daftar pengguna broker.",
        ),
    ),
    "connection_refused": FindingText(
        Bilingual("the broker refuses the connection ({reason})", "broker menolak koneksi ({reason})"),
        Bilingual(
            "Ask whoever runs the broker; for a broker that speaks MQTT 3.1.1 only, set mqtt.protocol.",
            "Hubungi pengelola broker; untuk broker yang hanya mengenal MQTT 3.1.1, atur mqtt.protocol.",
        ),
    ),
    "subscription_granted": FindingText(Bilingual("{topic} is granted", "{topic} diizinkan")),
    "subscription_refused": FindingText(
        Bilingual("{topic} is refused ({reason})", "{topic} ditolak ({reason})"),
        Bilingual(
            "The broker's access list must let this gateway read its receipt and cmd/+: docs/broker.md.",
            "Daftar akses broker harus mengizinkan gateway membaca receipt dan cmd/+: docs/broker.md.",
        ),
    ),
    "subscription_unanswered": FindingText(
        Bilingual("the broker does not answer a subscription", "broker tidak menjawab permintaan langganan"),
        Bilingual("Look at the broker's log and access list.", "Lihat log dan daftar akses broker."),
    ),
    "publish_taken": FindingText(Bilingual("{topic} is taken", "{topic} diterima")),
    "publish_forbidden": FindingText(
        Bilingual("{topic} is forbidden to this gateway", "{topic} dilarang untuk gateway ini"),
        Bilingual(
            "Let the broker's access list grant it: docs/broker.md has a sample.",
            "Minta pengelola broker mengizinkannya di daftar akses: contoh ada di docs/broker.md.",
        ),
    ),
    "publish_refused": FindingText(
        Bilingual("{topic} is refused ({reason})", "{topic} ditolak ({reason})"),
        Bilingual("Look at the broker's log and limits.", "Lihat log dan batas-batas broker."),
    ),
    "publish_unanswered": FindingText(
        Bilingual("the broker does not acknowledge {topic}", "broker tidak mengakui {topic}"),
        Bilingual("Look at the broker's log and access list.", "Lihat log dan daftar akses broker."),
    ),
    "refusals_invisible": FindingText(
        Bilingual("with MQTT 3.1.1 a broker cannot tell", "dengan MQTT 3.1.1 broker tidak dapat memberi tahu")
    ),
    "subscriber_there": FindingText(Bilingual("the broker names no lack of it", "broker tidak melaporkan kekosongan")),
    "no_subscriber": FindingText(
        Bilingual("nobody subscribes to {topic}", "tidak ada yang berlangganan {topic}"),
        Bilingual(
            "The centre is down or subscribes to something else: ask its people. Events are kept and tried again.",
            "Pusat mati atau berlangganan topik lain: hubungi pengelolanya. Data disimpan dan dikirim ulang.",
        ),
    ),
    "no_subscriber_to_alarms": FindingText(
        Bilingual(
            "nobody listens to alarms; who listens to punches shows when the first one is recorded",
            "tidak ada yang menerima alarm; penerima presensi terlihat setelah presensi pertama tercatat",
        )
    ),
    "receipt_seen": FindingText(
        Bilingual("covers {upto} of {assigned}, {missing} missing", "mencakup {upto} dari {assigned}, {missing} kurang")
    ),
    "no_receipt": FindingText(
        Bilingual(
            "none; a centre may do without (delivery.confirm)", "tidak ada; pusat boleh tanpa itu (delivery.confirm)"
        )
    ),
    "receipt_empty": FindingText(
        Bilingual("there is one that confirms nothing yet", "ada, tetapi belum mengonfirmasi apa pun")
    ),
    "receipt_missing": FindingText(
        Bilingual("none, and delivery.confirm waits for it", "tidak ada, padahal delivery.confirm menunggunya"),
        Bilingual(
            "Ask the centre's people; until it comes, nothing is removed from this machine.",
            "Hubungi pengelola pusat; sebelum ada, tidak ada data yang dihapus dari komputer ini.",
        ),
    ),
    "receipt_unreadable": FindingText(
        Bilingual("it cannot be read", "tidak dapat dibaca"),
        Bilingual(
            "Ask the centre's people: docs/contract.md shows one.",
            "Hubungi pengelola pusat: contoh di docs/contract.md.",
        ),
    ),
    "receipt_foreign": FindingText(
        Bilingual("it speaks of a stream this ledger never had", "isinya tentang stream yang bukan milik ledger ini"),
        Bilingual(
            "Do two machines use the same site and gateway, or was data_dir made anew?",
            "Apakah dua komputer memakai site dan gateway yang sama, atau data_dir dibuat ulang?",
        ),
    ),
    "receipt_unjudged": FindingText(Bilingual("there is one, but no ledger yet", "ada, tetapi belum ada ledger")),
    "daemon_connected": FindingText(Bilingual("connected", "tersambung")),
    "daemon_not_connected": FindingText(
        Bilingual("{reason}", "daemon belum tersambung ({reason})"),
        Bilingual(
            "The broker lets us in just now: restart the daemon, or wait until it tries again.",
            "Broker menerima kita saat ini: jalankan ulang daemon, atau tunggu sampai ia mencoba lagi.",
        ),
    ),
    "daemon_troubled": FindingText(
        Bilingual("{reason}", "{reason}"),
        Bilingual(
            "The centre must subscribe, or the broker's access list must grant it: docs/broker.md.",
            "Pusat harus berlangganan, atau daftar akses broker harus mengizinkan: docs/broker.md.",
        ),
    ),
}

DOCTOR = {
    "all_well": Bilingual("Nothing is in the way.", "Tidak ada yang menghalangi."),
    "unconfirmed": Bilingual(
        "Nothing is in the way here. The centre has confirmed nothing yet: ask its people whether punches arrive.",
        "Tidak ada yang menghalangi di sisi ini. Pusat belum mengonfirmasi apa pun: tanyakan apakah absen sampai.",
    ),
    "in_the_way": Bilingual("Begin with: {part}, {step}: {text}", "Mulai dari: {part}, {step}: {text}"),
    "next": Bilingual("Next: {advice}", "Langkah berikut: {advice}"),
    "advice": Bilingual("→ {advice}", "→ {advice}"),
    "because": Bilingual("→ comes from: {part}, {step}", "→ akibat dari: {part}, {step}"),
    "counted": Bilingual(
        "In the way (✗): {failed}. To be mended, but nothing stops (!): {warned}.",
        "Penghalang (✗): {failed}. Perlu dibetulkan, tetapi tidak menghentikan (!): {warned}.",
    ),
    "reported": Bilingual("Report: {file}", "Laporan: {file}"),
}

QUESTIONS = {
    "site": Bilingual(
        "Code of the office (a-z, 0-9 and -), such as 3602-bkpsdm", "Kode kantor (a-z, 0-9 dan -), misalnya 3602-bkpsdm"
    ),
    "gateway": Bilingual("Name of this computer (a-z, 0-9 and -)", "Nama komputer ini (a-z, 0-9 dan -)"),
    "timezone": Bilingual("Time zone: WIB, WITA or WIT", "Zona waktu: WIB, WITA atau WIT"),
    "broker": Bilingual(
        "Address of the broker, such as mqtts://broker.example.go.id:8883",
        "Alamat broker, misalnya mqtts://broker.example.go.id:8883",
    ),
    "username": Bilingual("User name at the broker (- for none)", "Nama pengguna di broker (- kalau tidak ada)"),
    "password": Bilingual(
        "Its password (not shown; empty for none)", "Kata sandinya (tidak ditampilkan; boleh kosong)"
    ),
    "ca_file": Bilingual(
        "File with the certificate of the broker's authority (- for the system's)",
        "Berkas sertifikat CA broker (- untuk bawaan sistem)",
    ),
    "range": Bilingual(
        "Where terminals are: networks such as 192.168.1.0/24, addresses, or NAME=ADDRESS for one that is off",
        "Letak mesin absen: jaringan misalnya 192.168.1.0/24, alamat, atau NAMA=ALAMAT untuk mesin yang mati",
    ),
    "key": Bilingual(
        "{address} wants its communication key (not shown; empty to leave it for later)",
        "{address} meminta kunci komunikasi / Comm Key (tidak ditampilkan; kosong untuk nanti)",
    ),
    "name": Bilingual(
        "{address}, {model}, serial {serial}: its name (a-z, 0-9 and -; - alone leaves it out)",
        "{address}, {model}, nomor seri {serial}: namanya (a-z, 0-9 dan -; - saja untuk melewati)",
    ),
}
"""Questions of `hadir init`."""

WRONG = {
    "site": Bilingual("Only a-z, 0-9 and hyphens, no blanks.", "Hanya a-z, 0-9 dan tanda hubung, tanpa spasi."),
    "gateway": Bilingual("Only a-z, 0-9 and hyphens, no blanks.", "Hanya a-z, 0-9 dan tanda hubung, tanpa spasi."),
    "timezone": Bilingual(
        "No time zone: WIB, WITA, WIT, or a name such as Asia/Jakarta.",
        "Bukan zona waktu: WIB, WITA, WIT, atau nama seperti Asia/Jakarta.",
    ),
    "broker": Bilingual(
        "No broker's address: mqtt://host:1883, or mqtts://host:8883 with TLS; no user or password in it.",
        "Bukan alamat broker: mqtt://host:1883, atau mqtts://host:8883 dengan TLS; tanpa nama atau sandi di dalamnya.",
    ),
    "username": Bilingual(
        "Letters and digits; no blank at an end.", "Huruf dan angka; tanpa spasi di awal atau akhir."
    ),
    "password": Bilingual(
        "The password begins or ends with a blank, or has an invisible character.",
        "Kata sandi diawali atau diakhiri spasi, atau berisi karakter yang tidak terlihat.",
    ),
    "ca_file": Bilingual(
        "There is no such file to read, or no certificate (PEM) in it.",
        "Berkas itu tidak ada, tidak dapat dibaca, atau bukan sertifikat (PEM).",
    ),
    "range": Bilingual(
        "No private network or address (192.168.1.0/24, 192.168.1.201, lobby=192.168.1.201); 1,024 addresses at most.",
        "Bukan jaringan/alamat privat (192.168.1.0/24, 192.168.1.201, lobi=192.168.1.201); paling banyak 1.024 alamat.",
    ),
    "key": Bilingual("A key is a number from 0 to 999999.", "Kunci adalah angka 0 sampai 999999."),
    "key_refused": Bilingual("The terminal refuses this key.", "Mesin menolak kunci ini."),
    "name": Bilingual(
        "Only a-z, 0-9 and hyphens, and no name twice.", "Hanya a-z, 0-9 dan tanda hubung, dan nama tidak boleh sama."
    ),
    "no_terminal": Bilingual("No terminal answers there.", "Tidak ada mesin absen yang menjawab di sana."),
}
"""Why an answer is wrong: shown before the question is repeated."""

INIT = {
    "exists": Bilingual("{file} is there already: nothing is written.", "{file} sudah ada: tidak ada yang ditulis."),
    "written": Bilingual("Written: {files}", "Ditulis: {files}"),
    "start": Bilingual(
        "Start it with: systemctl start hadir, or hadir run -c {file}",
        "Jalankan dengan: systemctl start hadir, atau hadir run -c {file}",
    ),
}

COMMENTS = {
    "head": Bilingual(
        "Configuration of a Hadir gateway, made by `hadir init`. What else can be set: gateway.example.yaml\n"
        "(in config/, or /usr/share/doc/hadir/examples/ where the package is installed).\n"
        "Check it after each change with `hadir check`; find what is in the way with `hadir doctor`.",
        "Konfigurasi gateway Hadir, dibuat oleh `hadir init`. Pengaturan lain: gateway.example.yaml\n"
        "(di config/, atau /usr/share/doc/hadir/examples/ kalau dipasang dari paket).\n"
        "Periksa setelah setiap perubahan dengan `hadir check`; cari penghalang dengan `hadir doctor`.",
    ),
    "site": Bilingual("The code of the office; part of every topic.", "Kode kantor; bagian dari setiap topik."),
    "gateway": Bilingual(
        "The name of this computer; every gateway of an office has its own.",
        "Nama komputer ini; setiap gateway di satu kantor punya nama sendiri.",
    ),
    "timezone": Bilingual(
        "The time zone of the office: Asia/Jakarta (WIB), Asia/Makassar (WITA) or Asia/Jayapura (WIT).",
        "Zona waktu kantor: Asia/Jakarta (WIB), Asia/Makassar (WITA) atau Asia/Jayapura (WIT).",
    ),
    "data_dir": Bilingual("The folder of the ledger.", "Folder untuk ledger."),
    "mqtt": Bilingual(
        "The broker that passes the punches on to the centre. Passwords are in files of their own, never here.",
        "Broker yang meneruskan presensi ke pusat. Kata sandi ada di berkas sendiri, tidak pernah di sini.",
    ),
    "terminals": Bilingual(
        "The terminals: one entry for each. A serial number makes sure that no other terminal is read in its place.",
        "Mesin absen: satu entri untuk setiap mesin. Nomor seri memastikan mesin lain tidak terbaca sebagai gantinya.",
    ),
}
"""Comments in the configuration that `hadir init` writes."""
