package gateway

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// Users are most of what is sent that no page holds ready, so they are encoded here
// and not by reflection. What is written is what json.Marshal would write, which a
// test compares.

// appendJSON appends the user as JSON.
func (u *userView) appendJSON(b []byte) []byte {
	b = appendNumber(append(b, '{'), "id", u.ID)
	b = appendText(append(b, ','), "name", u.Name)
	b = appendNumber(append(b, ','), "follow_count", u.FollowCount)
	b = appendNumber(append(b, ','), "follower_count", u.FollowerCount)
	b = appendKey(append(b, ','), "is_follow")
	b = strconv.AppendBool(b, u.IsFollow)
	b = appendText(append(b, ','), "avatar", u.Avatar)
	b = appendText(append(b, ','), "background_image", u.BackgroundImage)
	b = appendText(append(b, ','), "signature", u.Signature)
	b = appendNumber(append(b, ','), "total_favorited", u.TotalFavorited)
	b = appendNumber(append(b, ','), "work_count", u.WorkCount)
	b = appendNumber(append(b, ','), "favorite_count", u.FavoriteCount)
	return append(b, '}')
}

// userSize is about what a user takes as JSON, in bytes.
const userSize = 384

// appendJSON appends the answer as JSON.
func (a *usersAnswer) appendJSON(b []byte) []byte {
	b = a.envelope.appendJSON(b)
	b = appendKey(append(b, ','), "user_list")
	b = append(b, '[')
	for i := range a.UserList {
		if i > 0 {
			b = append(b, ',')
		}
		b = a.UserList[i].appendJSON(b)
	}
	return append(b, "]}"...)
}

// appendJSON appends the answer as JSON.
func (a *userAnswer) appendJSON(b []byte) []byte {
	b = a.envelope.appendJSON(b)
	b = appendKey(append(b, ','), "user")
	if a.User == nil {
		return append(b, "null}"...)
	}
	return append(a.User.appendJSON(b), '}')
}

// appendJSON appends the envelope without its end.
func (e *envelope) appendJSON(b []byte) []byte {
	b = appendNumber(append(b, '{'), "status_code", int64(e.StatusCode))
	return appendText(append(b, ','), "status_msg", e.StatusMsg)
}

func appendKey(b []byte, key string) []byte {
	return append(append(append(b, '"'), key...), `":`...)
}

func appendNumber(b []byte, key string, n int64) []byte {
	return strconv.AppendInt(appendKey(b, key), n, 10)
}

func appendText(b []byte, key, text string) []byte {
	b = appendKey(b, key)
	if !plain(text) {
		quoted, _ := json.Marshal(text) // a string never fails
		return append(b, quoted...)
	}
	return append(append(append(b, '"'), text...), '"')
}

// plain reports whether JSON shows the text as it is.
func plain(text string) bool {
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(text[i:])
			if r == utf8.RuneError && size == 1 || r == '\u2028' || r == '\u2029' {
				return false
			}
			i += size
		case c < ' ' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&':
			return false
		default:
			i++
		}
	}
	return true
}
