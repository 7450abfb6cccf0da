// Asks a terminal by means of zkteco-js and prints what it says, one JSON value a line.
// usage: node zkteco.js read|live HOST PORT
"use strict";

// The library tells people about its progress; standard output is for the values.
console.log = console.error;
const Terminal = require("zkteco-js");

const [what, host, port] = process.argv.slice(2);
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const text = (answer) => answer.replace(/\0.*$/s, "");

// A terminal's wall clock has no zone: print it as it stands.
const two = (number) => String(number).padStart(2, "0");
const wall = (date) =>
  `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}` +
  `T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;

async function read(terminal) {
  say({
    serial: await terminal.getSerialNumber(),
    model: await terminal.getDeviceName(),
    firmware: text(await terminal.getFirmware()),
    time: wall(await terminal.getTime()),
    info: await terminal.getInfo(),
    users: (await terminal.getUsers()).data.map((user) => [user.uid, user.userId]),
    attendance: (await terminal.getAttendances()).data.map((record) => [
      record.user_id,
      wall(new Date(record.record_time)),
      record.type,
      record.state,
    ]),
  });
}

function live(terminal) {
  return new Promise((resolve) => {
    terminal.getRealTimeLogs((event) => {
      say([event.userId, wall(event.attTime)]);
      resolve();
    });
  });
}

async function main() {
  const terminal = new Terminal(host, Number(port), 5000, 0);
  await terminal.createSocket();
  await { read, live }[what](terminal);
  await terminal.disconnect();
}

main().then(
  () => process.stdout.write("", () => process.exit(0)), // what is still on its way into the pipe goes first
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
