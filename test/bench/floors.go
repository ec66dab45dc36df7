package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"backbeat/proto/entity"
	"backbeat/proto/video"
)

// The floors: what no request can cost less than, each in processes of its own so
// that it is counted as the rows are. Prebuilt answers 20 KB of JSON that it holds;
// rpc gets 30 videos by one gRPC call of service and encodes them.
const (
	prebuiltFloor = "prebuilt"
	rpcFloor      = "rpc"
	serviceFloor  = "service"
)

// Floors are what the references cost, in ms of CPU per request.
type Floors struct {
	Prebuilt float64 `json:"prebuilt_ms"`
	RPC      float64 `json:"rpc_ms"`
}

// mean of what was measured before and after.
func (f Floors) mean(other Floors) Floors {
	return Floors{(f.Prebuilt + other.Prebuilt) / 2, (f.RPC + other.RPC) / 2}
}

// floor is one reference that runs.
type floor struct {
	addr    string
	members []member
}

// floors are the references, started once a run.
type floors struct {
	prebuilt, rpc floor
	stop          []func() error
}

func startFloors(ctx context.Context) (f *floors, err error) {
	f = &floors{}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	start := func(args ...string) (addr string, m member, err error) {
		addr, pid, stop, err := startChild(ctx, args...)
		f.stop = append(f.stop, stop)
		return addr, member{name: args[0], pid: pid}, err
	}
	var front, service member
	if f.prebuilt.addr, front, err = start(prebuiltFloor); err != nil {
		return f, err
	}
	f.prebuilt.members = []member{front}
	addr, service, err := start(serviceFloor)
	if err != nil {
		return f, err
	}
	if f.rpc.addr, front, err = start(rpcFloor, addr); err != nil {
		return f, err
	}
	f.rpc.members = []member{front, service}
	return f, nil
}

func (f *floors) close() error {
	var faults []error
	for _, stop := range f.stop {
		faults = append(faults, stop())
	}
	return errors.Join(faults...)
}

// measure drives each floor for a while.
func (f *floors) measure(ctx context.Context, connections int, length time.Duration) (measured Floors, err error) {
	for _, one := range []struct {
		floor
		ms *float64
	}{{f.prebuilt, &measured.Prebuilt}, {f.rpc, &measured.RPC}} {
		ask := request{bytes: encode(one.addr, http.MethodGet, "/", nil)}
		before, err := read(one.members)
		if err != nil {
			return measured, err
		}
		t := drive(ctx, load{addr: one.addr, connections: connections, length: length, next: func() (request, bool) { return ask, true }})
		after, err := read(one.members)
		if err := errors.Join(err, t.fault, ctx.Err()); err != nil {
			return measured, fmt.Errorf("a floor: %w", err)
		}
		for _, spent := range after.since(before) {
			*one.ms += milliseconds(spent) / float64(len(t.latencies))
		}
	}
	return measured, nil
}

// startChild runs this program as a floor, which ends when its input does.
func startChild(ctx context.Context, args ...string) (addr string, pid int, stop func() error, err error) {
	stop = func() error { return nil }
	program, err := os.Executable()
	if err != nil {
		return "", 0, stop, err
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"floor"}, args...)...)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return "", 0, stop, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return "", 0, stop, err
	}
	if err := cmd.Start(); err != nil {
		return "", 0, stop, err
	}
	stop = func() error { return errors.Join(input.Close(), cmd.Wait()) }
	addr, err = bufio.NewReader(output).ReadString('\n')
	return strings.TrimSpace(addr), cmd.Process.Pid, stop, err
}

// runFloor is the child: it prints its address and serves until its input ends.
func runFloor(args []string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	failed := make(chan error, 2)
	switch {
	case len(args) == 1 && args[0] == prebuiltFloor:
		go func() { failed <- http.Serve(listener, prebuilt()) }()
	case len(args) == 1 && args[0] == serviceFloor:
		go func() { failed <- service().Serve(listener) }()
	case len(args) == 2 && args[0] == rpcFloor:
		conn, err := grpc.NewClient(args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		go func() { failed <- http.Serve(listener, composed(conn)) }()
	default:
		return fmt.Errorf("no floor %q", args)
	}
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		failed <- err
	}()
	return <-failed
}

// prebuilt answers the page that composed would, ready.
func prebuilt() http.Handler {
	page, err := json.Marshal(newFloorPage(floorVideos()))
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, page, err) })
}

// composed asks the service and encodes what it says.
func composed(conn *grpc.ClientConn) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var found video.FeedResponse
		if err := conn.Invoke(r.Context(), "/video.Video/Feed", &video.FeedRequest{Limit: 30}, &found); err != nil {
			answer(w, nil, err)
			return
		}
		page, err := json.Marshal(newFloorPage(found.GetVideos()))
		answer(w, page, err)
	})
}

func answer(w http.ResponseWriter, page []byte, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	_, _ = w.Write(page) // an error means that the driver has gone
}

// service is a plain gRPC server that knows one answer.
func service() *grpc.Server {
	videos := floorVideos()
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "video.Video", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
		MethodName: "Feed",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var asked video.FeedRequest
			return &video.FeedResponse{Videos: videos}, decode(&asked)
		},
	}}}, struct{}{})
	return s
}

// floorPage is a feed as the app reads it, 20 KB of 30 videos.
type floorPage struct {
	StatusCode int          `json:"status_code"`
	StatusMsg  string       `json:"status_msg"`
	VideoList  []floorVideo `json:"video_list"`
	NextTime   int64        `json:"next_time"`
}

type floorVideo struct {
	ID            int64       `json:"id"`
	Author        floorAuthor `json:"author"`
	PlayURL       string      `json:"play_url"`
	CoverURL      string      `json:"cover_url"`
	FavoriteCount int64       `json:"favorite_count"`
	CommentCount  int64       `json:"comment_count"`
	IsFavorite    bool        `json:"is_favorite"`
	Title         string      `json:"title"`
}

type floorAuthor struct {
	ID              int64  `json:"id"`
	Name            string `json:"name"`
	FollowCount     int64  `json:"follow_count"`
	FollowerCount   int64  `json:"follower_count"`
	IsFollow        bool   `json:"is_follow"`
	Avatar          string `json:"avatar"`
	BackgroundImage string `json:"background_image"`
	Signature       string `json:"signature"`
	TotalFavorited  int64  `json:"total_favorited"`
	WorkCount       int64  `json:"work_count"`
	FavoriteCount   int64  `json:"favorite_count"`
}

func floorVideos() []*entity.Video {
	videos := make([]*entity.Video, 30)
	for i := range videos {
		n := int64(i)
		videos[i] = &entity.Video{Id: 1<<50 + n, AuthorId: 1<<49 + n, Title: "一段短视频", State: entity.Video_PUBLISHED, PublishedAt: 1772600000000 + n,
			PlayKey:  "http://127.0.0.1:8080/media/video/ab/0123456789abcdef0123456789abcdef.mp4",
			CoverKey: "http://127.0.0.1:8080/media/cover/ab/0123456789abcdef01234567.jpg"}
	}
	return videos
}

func newFloorPage(videos []*entity.Video) *floorPage {
	page := &floorPage{StatusMsg: "获取视频流成功", VideoList: make([]floorVideo, len(videos))}
	for i, v := range videos {
		page.VideoList[i] = floorVideo{
			ID: v.GetId(), PlayURL: v.GetPlayKey(), CoverURL: v.GetCoverKey(), Title: v.GetTitle(),
			FavoriteCount: v.GetPublishedAt(), CommentCount: v.GetPublishedAt(),
			Author: floorAuthor{ID: v.GetAuthorId(), Name: v.GetTitle(), Avatar: v.GetCoverKey(), BackgroundImage: v.GetCoverKey(), Signature: v.GetTitle()},
		}
		page.NextTime = v.GetPublishedAt()
	}
	return page
}
