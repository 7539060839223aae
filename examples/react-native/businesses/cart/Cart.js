import { Image, Text, View } from "react-native";
import { Price } from "../../shared/Price";
import { addToBasket, session } from "../../shared/session";
import { title, total } from "./summary";
import logo from "./img/cart.png";
import "./fonts/Shop.ttf";

addToBasket("tea");
session.visits++;

export function Cart() {
  return (
    <View>
      <Image source={logo} />
      <Text style={{ fontFamily: "Shop" }}>{title(session)}</Text>
      <Price cents={total(session.basket)} />
    </View>
  );
}
