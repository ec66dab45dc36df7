package gateway

import (
	"strconv"
	"time"

	"backbeat/proto/entity"
)

// What the app reads. Every field is always there (API §1.4): no omitempty, and
// lists are made, never nil.

// User of API §1.6.
type userView struct {
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

// friendView is a FriendUser: flat, with msgType in camel case.
type friendView struct {
	userView
	Message string `json:"message"`
	MsgType int    `json:"msgType"`
}

// msgType is 1 for a message that the viewer sent, 0 for one received.
const (
	msgReceived = 0
	msgSent     = 1
)

type videoView struct {
	ID            int64    `json:"id"`
	Author        userView `json:"author"`
	PlayURL       string   `json:"play_url"`
	CoverURL      string   `json:"cover_url"`
	FavoriteCount int64    `json:"favorite_count"`
	CommentCount  int64    `json:"comment_count"`
	IsFavorite    bool     `json:"is_favorite"`
	Title         string   `json:"title"`
}

type commentView struct {
	ID         int64    `json:"id"`
	User       userView `json:"user"`
	Content    string   `json:"content"`
	CreateDate string   `json:"create_date"`
}

type messageView struct {
	ID         int64  `json:"id"`
	ToUserID   int64  `json:"to_user_id"`
	FromUserID int64  `json:"from_user_id"`
	Content    string `json:"content"`
	CreateTime int64  `json:"create_time"`
}

// The answers of the endpoints.
type (
	plainAnswer struct{ envelope }

	sessionAnswer struct {
		envelope
		UserID int64  `json:"user_id"`
		Token  string `json:"token"`
	}
	userAnswer struct {
		envelope
		User *userView `json:"user"`
	}
	feedAnswer struct {
		envelope
		VideoList []videoView `json:"video_list"`
		NextTime  int64       `json:"next_time"`
	}
	videosAnswer struct {
		envelope
		VideoList []videoView `json:"video_list"`
	}
	commentAnswer struct {
		envelope
		Comment *commentView `json:"comment"`
	}
	commentsAnswer struct {
		envelope
		CommentList []commentView `json:"comment_list"`
	}
	usersAnswer struct {
		envelope
		UserList []userView `json:"user_list"`
	}
	friendsAnswer struct {
		envelope
		UserList []friendView `json:"user_list"`
	}
	messagesAnswer struct {
		envelope
		MessageList []messageView `json:"message_list"`
	}
)

// The answers with empty values, which failures carry.
func noPlain() answer    { return &plainAnswer{} }
func noSession() answer  { return &sessionAnswer{} }
func noUser() answer     { return &userAnswer{} }
func noFeed() answer     { return &feedAnswer{VideoList: []videoView{}} }
func noVideos() answer   { return &videosAnswer{VideoList: []videoView{}} }
func noComment() answer  { return &commentAnswer{} }
func noComments() answer { return &commentsAnswer{CommentList: []commentView{}} }
func noUsers() answer    { return &usersAnswer{UserList: []userView{}} }
func noFriends() answer  { return &friendsAnswer{UserList: []friendView{}} }
func noMessages() answer { return &messagesAnswer{MessageList: []messageView{}} }

// success is the envelope of a success.
func success(text string) envelope { return envelope{StatusMsg: text} }

// defaultSignature greets from profiles whose owner wrote nothing.
const defaultSignature = "你好，很高兴在这里遇见你"

// links makes the absolute URLs of one answer.
type links struct {
	// base is scheme and host that the client reaches us at, without a final slash.
	base string
	// media is where stored files are: below base, or a CDN.
	media string
}

func (l links) file(key string) string { return l.media + "/" + key }

func (l links) play(v *entity.Video) string { return l.file(v.GetPlayKey()) }

func (l links) cover(v *entity.Video) string {
	if v.GetCoverKey() == "" {
		return l.base + "/media/cover.png"
	}
	return l.file(v.GetCoverKey())
}

func (l links) avatar(u *entity.User) string {
	if u.GetAvatar() == "" {
		return l.base + "/media/avatar/" + strconv.FormatInt(u.GetId(), 10) + ".png"
	}
	return l.file(u.GetAvatar())
}

func (l links) background(u *entity.User) string {
	if u.GetBackgroundImage() == "" {
		return l.base + "/media/background/" + strconv.FormatInt(u.GetId(), 10) + ".png"
	}
	return l.file(u.GetBackgroundImage())
}

func signature(u *entity.User) string {
	if u.GetSignature() == "" {
		return defaultSignature
	}
	return u.GetSignature()
}

// createDate shows a comment's time, in Unix milliseconds, as the app wants it.
func (g *Gateway) createDate(ms int64) string {
	return time.UnixMilli(ms).In(g.zone).Format("01-02")
}
