package gateway

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// ends returns the two ends of a connection that gathers at the first.
func ends(t *testing.T) (*gathered, *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := gathering{listener}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.(*gathered), client.(*net.TCPConn)
}

func TestGathering(t *testing.T) {
	tests := map[string]struct {
		pieces []string
		// early is what the client has before the last piece is written.
		early string
	}{
		"nothing":      {nil, ""},
		"one piece":    {[]string{"one"}, ""},
		"two pieces":   {[]string{"one", "two"}, ""},
		"three pieces": {[]string{"one", "two", "three"}, "onetwo"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server, client := ends(t)
			for range 2 { // what waited is forgotten
				n, err := server.whole(func() (n int, err error) {
					for i, piece := range tt.pieces {
						if last := i == len(tt.pieces)-1; last && readable(client) != (tt.early != "") {
							t.Errorf("before the last piece something has come: %t", tt.early == "")
						}
						if n, err = server.Write([]byte(piece)); n != len(piece) || err != nil {
							t.Errorf("of %q %d bytes, %v", piece, n, err)
						}
					}
					return n, err
				})
				if want := len(strings.Join(tt.pieces[max(0, len(tt.pieces)-1):], "")); n != want || err != nil {
					t.Errorf("it returned %d, %v, want %d", n, err, want)
				}
				all := strings.Join(tt.pieces, "")
				got := make([]byte, len(all))
				if _, err := io.ReadFull(client, got); err != nil || string(got) != all || readable(client) {
					t.Errorf("the client has %q, %v, and more: %t", got, err, readable(client))
				}
			}
		})
	}
}

func TestGatheringForAClientWhoHasGone(t *testing.T) {
	server, client := ends(t)
	client.SetLinger(0)
	client.Close()
	server.SetWriteBuffer(1)
	for range 100 {
		if _, err := server.whole(func() (int, error) { return server.Write(make([]byte, 1<<20)) }); err != nil {
			return
		}
	}
	t.Error("nobody noticed")
}

// Whatever an answer's length, the client gets it, and the next one over the same
// connection.
func TestAnswersOfEveryLength(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var body []byte
	server := &http.Server{ConnContext: withConn, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w, conn: connOf(r.Context())}
		if rec.conn == nil {
			t.Error("its connection is not known")
		}
		rec.Write(body)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(gathering{listener}) }()
	t.Cleanup(func() { server.Close(); <-ended })
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(3500, 4500), rapid.IntRange(0, 40_000)).Draw(t, "size")
		body = bytes.Repeat([]byte("x"), size)
		resp, err := http.Get("http://" + listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("of %d bytes %d came, %v", size, len(got), err)
		}
	})
	http.DefaultClient.CloseIdleConnections()
}
