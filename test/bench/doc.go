// Command bench says what each request costs and how fast it is, in the real
// thing: one process of each role and real servers on loopback, filled by
// `backbeat seed`.
//
//	go run ./test/bench [-only feed] [-seconds 4] [-profile gateway]
//	go run ./test/bench -growth 100
//	go run ./test/bench compare OLD.json NEW.json
//
// The rows of the table in rows.go are driven one after the other. A row's cost is
// the CPU that our processes, MariaDB, Redis and RabbitMQ spent until everything
// it caused was done, divided by its requests; the driver's own is not counted.
// Directly before and after each row two floors are measured in the same way, and
// a row's goal scales with them: machines differ, and one machine from minute to
// minute. After them a row is driven once more for a CPU profile of whichever of our
// processes costs most in it.
//
// With -growth the rows that more data could make dearer are measured twice: in a
// cluster with the seed's numbers and in one with so many times as much, each with
// users and videos drawn by popularity and evenly.
//
// Last, a mix is driven by ever more clients that ask again as soon as they are
// answered.
//
// Tables go to the terminal, and the same to out/latest.json; the result before
// that is kept as out/previous.json. Growth goes to out/growth.json, and what our
// processes logged to files beside them.
package main
